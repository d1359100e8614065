//! The status page: what it shows and to whom, what it does for whom, and how it looks in a browser.

mod ask;
mod browser;
mod doors;
mod look;
mod orders;
mod scene;
mod shows;
mod streams;
