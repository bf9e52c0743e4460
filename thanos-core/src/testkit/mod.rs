//! What tests of this crate and of its users share: directories, generators, naive models, real peers.

pub mod peer;
mod temp_dir;

pub use temp_dir::TempDir;
