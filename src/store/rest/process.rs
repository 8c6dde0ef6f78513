//! What the operating system says of this process. Nought where it says nothing.

use std::fs;

pub(super) fn resident_bytes() -> u64 {
    status_kib("VmRSS:").saturating_mul(1024)
}

pub(super) fn virtual_bytes() -> u64 {
    status_kib("VmSize:").saturating_mul(1024)
}

pub(super) fn threads() -> u64 {
    status_kib("Threads:")
}

/// A number from the kernel's page about this process.
fn status_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}
