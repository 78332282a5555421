//! Real packets through real networks. Needs root; skips with the reason otherwise.

mod access;
mod isolation;
mod lab;
mod reach;
mod remains;
