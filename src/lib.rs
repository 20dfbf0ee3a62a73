//! Credenza, a local credential broker for AWS and S3.

pub mod secret;
