//! Stub, replaced by the client.
