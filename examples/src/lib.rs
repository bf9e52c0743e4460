//! The wiring shared by the role binaries: flags, servers, shutdown. Each role is one file under `roles`.
