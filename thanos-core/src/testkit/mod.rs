//! What tests of this crate and of its users share: directories, generators, naive models, real peers.

mod copy;
pub mod damage;
pub mod fuzz;
mod index;
mod index_v1;
mod k8s;
mod malformed;
pub mod peer;
mod random;
pub mod shapes;
mod temp_dir;

pub use copy::copy_dir;
pub use index::{index_of, k8s_index};
pub use index_v1::v1_index;
pub use k8s::K8sSpec;
pub use malformed::{LabelPairs, label_pairs, malformed_block, malformed_index};
pub use random::TestRandom;
pub use temp_dir::TempDir;
