//! The network between the delegate and its managers: proxies, certificates that change, accounts side by side, and the check.

mod check;
mod front;
mod lab;
mod proxies;
mod proxy;
mod reload;
mod rule;
mod two;
