//! Generated protobuf code, and nothing else.
//!
//! `cargo xtask codegen` writes the files that are included here. Their types are seen by `convert`, `wire`,
//! `server` and `client` only: everything else uses the types of [`crate::store`].

#![allow(
    clippy::all,
    dead_code,
    missing_debug_implementations,
    missing_docs,
    rustdoc::all,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code, of which some messages have no user yet"
)]

/// The descriptors of all files and of what they import, for the reflection service.
pub(crate) const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("descriptors.bin");

pub(crate) mod hintspb {
    include!("hintspb.rs");
}

pub(crate) mod prometheus_copy {
    include!("prometheus_copy.rs");
}

pub(crate) mod thanos {
    include!("thanos.rs");

    pub(crate) mod info {
        include!("thanos.info.rs");
    }
}

pub(crate) mod thanosrs {
    pub(crate) mod v1 {
        include!("thanosrs.v1.rs");
    }
}
