//! Fusion: the nodes that are to be computed, as kernels and single nodes in an order in which they can run.

mod build;
mod cluster;
mod cost;
mod scan;
mod space;
mod stage;
mod unmask;

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Graph, NodeId, Op};
use crate::kernel::{self, Kernel};
use crate::ty::DimId;
use cluster::{Cluster, Fuser};
pub use cost::width;
pub use stage::{FusedPart, fused_parts};

/// Steps that compute some nodes of a graph, each reading what is known or what an earlier one left in memory.
#[derive(Clone, Debug, Default)]
pub struct Fusion {
    pub steps: Vec<Step>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    Kernel(Kernel),
    /// A node that no kernel computes: a source, a call to a resource, a sort, linear algebra.
    Node(NodeId),
}

/// Cuts what has to be computed for `wanted` into steps, given which nodes are `known`.
pub fn fuse(graph: &Graph, wanted: &[NodeId], known: impl Fn(NodeId) -> bool) -> Fusion {
    let mut fuser = Fuser {
        graph,
        known: graph.ids().map(known).collect(),
        wanted: wanted.iter().copied().collect(),
        clusters: Vec::new(),
        alone: BTreeSet::new(),
    };
    fuser.place_all();
    fuser.merge_all();
    Fusion {
        steps: in_order(&fuser),
    }
}

impl Step {
    /// What it leaves in memory.
    pub fn writes(&self) -> Vec<NodeId> {
        match self {
            Step::Kernel(kernel) => kernel.outputs.iter().map(|output| output.node).collect(),
            Step::Node(node) => vec![*node],
        }
    }

    /// What it reads.
    pub fn reads(&self, graph: &Graph) -> Vec<NodeId> {
        match self {
            Step::Kernel(kernel) => kernel.inputs.iter().map(|input| input.node).collect(),
            Step::Node(node) => graph.operands(*node),
        }
    }
}

/// A step that is not written out yet.
#[derive(Clone, Copy)]
enum Part<'f> {
    Kernel(&'f Cluster),
    Alone(NodeId),
}

/// Each step after those that it reads from; of several that could be next, the one that leaves the earliest node.
fn in_order(fuser: &Fuser) -> Vec<Step> {
    let graph = fuser.graph;
    let mut parts: Vec<(NodeId, Part)> = Vec::new();
    for cluster in &fuser.clusters {
        parts.extend(
            cluster
                .roots
                .keys()
                .next()
                .map(|&root| (root, Part::Kernel(cluster))),
        );
    }
    parts.extend(fuser.alone.iter().map(|&id| (id, Part::Alone(id))));
    parts.sort_by_key(|(first, _)| *first);
    let tellers = tellers(fuser);
    let mut missing: BTreeSet<NodeId> = BTreeSet::new();
    for (_, part) in &parts {
        match part {
            Part::Kernel(cluster) => missing.extend(cluster.roots.keys()),
            Part::Alone(id) => missing.extend([id]),
        }
    }
    let mut steps = Vec::new();
    while !parts.is_empty() {
        let is_ready = |(_, part): &(NodeId, Part)| {
            let (reads, dims) = match part {
                Part::Kernel(cluster) => {
                    (cluster.slice.waits_for().collect(), cluster.space.dims())
                }
                Part::Alone(id) => {
                    let mut dims = graph.ty(*id).dims.clone();
                    if let Op::Size(dim) = graph.op(*id) {
                        dims.push(*dim);
                    }
                    (graph.operands(*id), dims)
                }
            };
            let told = dims.iter().filter_map(|dim| tellers.get(dim));
            let own = |teller: &&NodeId| !matches!(part, Part::Alone(id) if id == *teller);
            !reads
                .iter()
                .chain(told.filter(own))
                .any(|read| missing.contains(read))
        };
        let next = parts.iter().position(is_ready);
        debug_assert!(next.is_some(), "no step waits for itself");
        let (_, part) = parts.remove(next.unwrap_or(0));
        steps.push(match part {
            Part::Kernel(cluster) => {
                missing.retain(|id| !cluster.roots.contains_key(id));
                let mut kernel = build::kernel(graph, cluster);
                unmask::unmask(&mut kernel);
                debug_assert_eq!(kernel::verify(&kernel), Ok(()), "of {:?}", cluster.roots);
                Step::Kernel(kernel)
            }
            Part::Alone(id) => {
                missing.remove(&id);
                Step::Node(id)
            }
        });
    }
    steps
}

/// The steps that tell the sizes of dimensions: draws, and models whose output has a dimension of its own.
fn tellers(fuser: &Fuser) -> BTreeMap<DimId, NodeId> {
    let graph = fuser.graph;
    let mut tellers = BTreeMap::new();
    for &id in &fuser.alone {
        if let Op::Draw(draw) = graph.op(id) {
            let fresh = graph.draws.get(*draw).map_or(&[][..], |draw| &draw.fresh);
            for &dim in fresh {
                tellers.entry(dim).or_insert(id);
            }
        } else if let Op::Model { .. } | Op::Backward { .. } = graph.op(id) {
            let read: Vec<DimId> = graph
                .operands(id)
                .iter()
                .flat_map(|&read| graph.ty(read).dims.clone())
                .collect();
            for &dim in graph.ty(id).dims.iter().filter(|dim| !read.contains(dim)) {
                tellers.entry(dim).or_insert(id);
            }
        }
    }
    tellers
}
