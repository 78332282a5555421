//! Runs workloads itself: containers without a daemon.
