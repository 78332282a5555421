//! Gives workloads their own networks, with ports of the host leading there.
