//! The spool keeps whole records whatever interrupts it, says what is missing, and fails for one log at a time.

mod bounds;
mod crashes;
mod faults;
mod lines;
mod place;
