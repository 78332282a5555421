//! Amounts with their unit in the type.

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::limits;

/// CPU in units of 1/1024 of a virtual CPU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CpuUnits(pub u32);

impl CpuUnits {
    /// One virtual CPU.
    pub const ONE: Self = Self(1024);

    /// Nanoseconds of CPU per second of wall time, over 10⁹: what container engines call nano-CPUs.
    #[must_use]
    pub fn nano_cpus(self) -> i64 {
        i64::from(self.0) * 1_000_000_000 / 1024
    }
}

/// Memory in MiB. (Edgegap writes "MB" and means this.)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemoryMib(pub u32);

impl MemoryMib {
    /// The same in bytes.
    #[must_use]
    pub fn bytes(self) -> i64 {
        i64::from(self.0) * 1024 * 1024
    }
}

/// What a deployment may use at most, and what is reserved for it on its host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Resources {
    /// CPU.
    pub cpu: CpuUnits,
    /// Memory.
    pub memory: MemoryMib,
}

impl Resources {
    /// Checks the bounds and the ratio of memory to CPU. `cpu_field` and `memory_field` are the user's names of the two.
    ///
    /// # Errors
    /// The first bound that is broken.
    pub fn checked(cpu: u32, memory: u32, cpu_field: &str, memory_field: &str) -> Result<Self, Invalid> {
        let cpu_range = limits::RESOURCE_MIN..=limits::CPU_UNITS_MAX;
        if !cpu_range.contains(&cpu) {
            let problem = format!("must be {} to {} (1024 = one vCPU)", cpu_range.start(), cpu_range.end());
            return Err(Invalid::new(cpu_field, problem));
        }
        let memory_max = cpu.saturating_mul(limits::MEMORY_PER_CPU_MAX);
        if !(limits::RESOURCE_MIN..=memory_max).contains(&memory) {
            let problem =
                format!("must be {} to {memory_max} MiB (at most twice the CPU units)", limits::RESOURCE_MIN);
            return Err(Invalid::new(memory_field, problem));
        }
        Ok(Self { cpu: CpuUnits(cpu), memory: MemoryMib(memory) })
    }

    /// Whether `self` fits into `free`.
    #[must_use]
    pub fn fits(self, free: Self) -> bool {
        self.cpu <= free.cpu && self.memory <= free.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_may_be_at_most_twice_the_cpu_units() {
        assert!(Resources::checked(256, 512, "req_cpu", "req_memory").is_ok());
        let err = Resources::checked(256, 513, "req_cpu", "req_memory").unwrap_err();
        assert_eq!(err.field, "req_memory");
        assert_eq!(Resources::checked(99, 100, "req_cpu", "req_memory").unwrap_err().field, "req_cpu");
    }

    #[test]
    fn one_vcpu_is_a_billion_nano_cpus() {
        assert_eq!(CpuUnits::ONE.nano_cpus(), 1_000_000_000);
    }
}
