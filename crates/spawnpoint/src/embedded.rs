//! The embedded runtime, as the rest of the binary knows it. It is Linux's own: on any other system the same names say so, and
//! nothing else.

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        pub mod images;
        pub mod leftovers;
        mod linux;
        pub use linux::{Engine, attempt, driver, findings, is_held, load, open};
    } else {
        mod elsewhere;
        pub use elsewhere::{Engine, attempt, driver, findings, images, is_held, leftovers, load, open};
    }
}

/// What an operator should know, and whether containers can have users of their own.
pub type Notes = (Vec<String>, Result<(), String>);
