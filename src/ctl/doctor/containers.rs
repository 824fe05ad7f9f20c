//! Judges where containers send queries. They have a loopback interface of their own, so a
//! resolv.conf that names 127.0.0.1 misleads them: Docker and Podman leave such servers out and use
//! public ones, and behind the kubelet CoreDNS asks itself.

mod bridge;
mod engines;
pub(super) mod found;
mod kubelet;

use super::facts::Facts;
use super::finding::Finding;
use found::{Containers, Kubelet};

/// A finding for each engine that the host has.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let Containers { docker, podman, kubelet, .. } = &facts.containers;
    let docker = docker.as_ref().map(|docker| docker.judge(facts));
    let podman = podman.as_ref().map(|podman| podman.judge(facts));
    [docker, podman, kubelet.as_ref().map(Kubelet::judge)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
