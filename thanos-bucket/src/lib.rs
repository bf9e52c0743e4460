//! Prometheus blocks in object storage: the bucket, block listing and the store gateway.
