//! The journal's promises, on a real file system: what was acknowledged comes back after any crash, and what does not come back
//! whole is a named error.

mod damage;
mod full_disk;
mod kill;
mod open;
mod power_cut;
mod state_dir;
mod support;
mod writer;
