//! Pulls, imports and keeps OCI images.
