//! Kernels before they are written out: where each loops and what it leaves in memory. What lies between follows.
//!
//! A kernel computes everything that it needs and can, from what is in memory anyway: values are computed again rather than
//! stored. What it cannot compute it loads, so that another step must have left it in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::cost;
use super::space::{Place, Space, over, over_last, reads, spaces};
use crate::graph::{Graph, NodeId, Op};

/// A kernel of the fused graph.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) space: Space,
    /// What it leaves in memory.
    pub(super) roots: BTreeMap<NodeId, Place>,
    pub(super) slice: Slice,
}

/// What a kernel does for its roots.
#[derive(Clone, Debug, Default)]
pub(super) struct Slice {
    pub(super) computed: BTreeSet<NodeId>,
    pub(super) loads: BTreeSet<NodeId>,
    /// The draws that tell sizes of dimensions.
    pub(super) draws: BTreeSet<NodeId>,
}

impl Slice {
    /// What earlier steps must have done.
    pub(super) fn waits_for(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.loads.iter().chain(&self.draws).copied()
    }
}

/// A graph that is cut into steps.
pub(super) struct Fuser<'g> {
    pub(super) graph: &'g Graph,
    /// What is in memory before the first step.
    pub(super) known: Vec<bool>,
    pub(super) wanted: BTreeSet<NodeId>,
    pub(super) clusters: Vec<Cluster>,
    /// Nodes that the executor computes by themselves.
    pub(super) alone: BTreeSet<NodeId>,
}

impl Fuser<'_> {
    /// A step for everything that must be in memory: first each in a kernel of its own.
    pub(super) fn place_all(&mut self) {
        let mut open: Vec<NodeId> = self.wanted.iter().copied().collect();
        let mut seen: BTreeSet<NodeId> = BTreeSet::new();
        while let Some(id) = open.pop() {
            if self.known[id.index()] || !seen.insert(id) {
                continue;
            }
            match self.kernel_for(id) {
                Some(cluster) => {
                    open.extend(cluster.slice.waits_for());
                    self.clusters.push(cluster);
                }
                None => {
                    open.extend(self.graph.operands(id));
                    self.alone.insert(id);
                }
            }
        }
    }

    /// The cheapest kernel that leaves one node in memory.
    fn kernel_for(&self, id: NodeId) -> Option<Cluster> {
        let mut candidates = spaces(self.graph, id);
        if !candidates.is_empty() {
            candidates.extend(self.spaces_of_reductions(id));
        }
        let kernel = |space: Space| {
            let place = space.place(self.graph, id)?;
            let roots = BTreeMap::from([(id, place)]);
            let slice = self.slice(&space, &roots)?;
            // What is loaded and not there yet costs a kernel more, which writes it.
            let made = slice
                .loads
                .iter()
                .filter(|load| !self.known[load.index()] && !self.is_source(**load));
            let made: f64 = made.map(|&load| self.bytes(load) + cost::LAUNCH).sum();
            let cluster = Cluster {
                space,
                roots,
                slice,
            };
            Some((self.cost(&cluster, |_| true) + made, cluster))
        };
        let priced = candidates.into_iter().filter_map(kernel);
        let cheapest = priced.reduce(|best, other| if other.0 < best.0 { other } else { best });
        cheapest.map(|(_, cluster)| cluster)
    }

    /// Where the reductions loop that a node, over the dimensions that they keep, is computed from.
    fn spaces_of_reductions(&self, id: NodeId) -> Vec<Space> {
        let dims = &self.graph.ty(id).dims;
        let mut found: Vec<Space> = Vec::new();
        let mut open = vec![id];
        let mut seen = BTreeSet::from([id]);
        while let Some(id) = open.pop() {
            if self.graph.ty(id).dims != *dims || self.known[id.index()] {
                continue;
            }
            let space = over(self.graph.op(id)).and_then(|over| over_last(dims, over));
            if let Some(space) = space
                && !found.contains(&space)
            {
                found.push(space);
            }
            open.extend(
                reads(self.graph, id)
                    .into_iter()
                    .filter(|&operand| seen.insert(operand)),
            );
        }
        found
    }

    /// Whether no kernel ever makes a node.
    fn is_source(&self, id: NodeId) -> bool {
        spaces(self.graph, id).is_empty()
    }

    /// What a kernel computes and loads for its roots; `None` if it cannot be.
    fn slice(&self, space: &Space, roots: &BTreeMap<NodeId, Place>) -> Option<Slice> {
        let mut slice = Slice::default();
        let mut open = Vec::new();
        for (&root, place) in roots {
            match place {
                Place::Total => open.extend(reads(self.graph, root)),
                Place::Cells | Place::Rows => open.push(root),
            }
        }
        while let Some(id) = open.pop() {
            if slice.computed.contains(&id) || slice.loads.contains(&id) {
                continue;
            }
            if !self.known[id.index()] && space.computes(self.graph, id) {
                slice.computed.insert(id);
                let operands = self.graph.operands(id).into_iter();
                let is_draw = |id: &NodeId| matches!(self.graph.op(*id), Op::Draw(_));
                slice.draws.extend(operands.filter(is_draw));
                open.extend(reads(self.graph, id));
            } else {
                space.level(&self.graph.ty(id).dims)?;
                slice.loads.insert(id);
            }
        }
        // A kernel cannot read what it writes.
        let reads_itself = roots.keys().any(|root| slice.loads.contains(root));
        (!reads_itself).then_some(slice)
    }

    fn bytes(&self, id: NodeId) -> f64 {
        cost::bytes(&self.graph.dims, self.graph.ty(id))
    }

    /// What a kernel costs that writes those of its roots which are read.
    fn cost(&self, cluster: &Cluster, is_read: impl Fn(NodeId) -> bool) -> f64 {
        let Slice {
            computed, loads, ..
        } = &cluster.slice;
        let read: f64 = loads.iter().map(|&load| self.bytes(load)).sum();
        let written: f64 = cluster
            .roots
            .keys()
            .filter(|root| is_read(**root))
            .map(|&root| self.bytes(root))
            .sum();
        let work: f64 = computed.iter().map(|&id| cost::work(self.graph, id)).sum();
        read + written + work + cost::LAUNCH
    }

    /// Joins kernels as long as that costs less, the most rewarding first.
    pub(super) fn merge_all(&mut self) {
        let mut gains: BTreeMap<(usize, usize), Option<(f64, Cluster)>> = BTreeMap::new();
        // Clusters that were merged into another are left empty, so that the others keep their numbers.
        loop {
            let live: Vec<usize> = (0..self.clusters.len())
                .filter(|&at| !self.clusters[at].roots.is_empty())
                .collect();
            let mut best: Option<(f64, (usize, usize))> = None;
            for (place, &one) in live.iter().enumerate() {
                for &other in &live[place + 1..] {
                    let pair = (one, other);
                    let gain = match gains.get(&pair) {
                        Some(known) => known.as_ref().map(|(gain, _)| *gain),
                        None => {
                            let merged = self.merged(one, other);
                            let gain = merged.as_ref().map(|(gain, _)| *gain);
                            gains.insert(pair, merged);
                            gain
                        }
                    };
                    if let Some(gain) = gain
                        && best.is_none_or(|(most, _)| gain > most)
                    {
                        best = Some((gain, pair));
                    }
                }
            }
            let Some((_, pair)) = best else { break };
            let (one, other) = pair;
            let Some(Some((_, merged))) = gains.remove(&pair) else {
                break;
            };
            // Other merges may have made this one a circle.
            if self.is_circle(&merged, pair) {
                gains.insert(pair, None);
                continue;
            }
            self.clusters[one] = merged;
            self.clusters[other] = Cluster {
                roots: BTreeMap::new(),
                slice: Slice::default(),
                ..self.clusters[other].clone()
            };
            let mut changed = self.drop_unread();
            changed.extend([one, other]);
            gains.retain(|(a, b), merged| {
                let is_there = |(_, cluster): &(f64, Cluster)| {
                    cluster.slice.loads.iter().all(|&load| self.is_there(load))
                };
                !changed.contains(a) && !changed.contains(b) && merged.as_ref().is_none_or(is_there)
            });
        }
        self.clusters.retain(|cluster| !cluster.roots.is_empty());
    }

    /// Two kernels as one, and how much less it costs; `None` if it cannot be or costs more.
    fn merged(&self, one: usize, other: usize) -> Option<(f64, Cluster)> {
        let pair = [&self.clusters[one], &self.clusters[other]];
        let mut candidates = vec![pair[0].space.clone(), pair[1].space.clone()];
        if pair[0].space.dims() == pair[1].space.dims() {
            let dims = pair[0].space.dims();
            candidates.extend((1..=dims.len()).map(|cells| Space::split(&dims, cells)));
        }
        let roots: BTreeSet<NodeId> = pair
            .iter()
            .flat_map(|cluster| cluster.roots.keys().copied())
            .collect();
        let read_elsewhere = |id: NodeId| self.is_read(id, &[one, other]);
        let kernel = |space: Space| {
            let placed: Option<BTreeMap<NodeId, Place>> = roots
                .iter()
                .map(|&root| Some((root, space.place(self.graph, root)?)))
                .collect();
            let kept: BTreeMap<NodeId, Place> = placed?
                .into_iter()
                .filter(|(root, _)| read_elsewhere(*root))
                .collect();
            let slice = self.slice(&space, &kept)?;
            // Nothing must be in memory for it that is not anyway.
            let fits = slice
                .loads
                .iter()
                .all(|&load| self.is_there(load) && !roots.contains(&load));
            fits.then(|| {
                let cluster = Cluster {
                    space,
                    roots: kept,
                    slice,
                };
                (self.cost(&cluster, |_| true), cluster)
            })
        };
        let priced = candidates.into_iter().filter_map(kernel);
        let (price, cluster) =
            priced.reduce(|best, new| if new.0 < best.0 { new } else { best })?;
        let before: f64 = pair
            .iter()
            .map(|cluster| self.cost(cluster, |_| true))
            .sum();
        let gain = before - price;
        (gain > 0.0 && !self.is_circle(&cluster, (one, other))).then_some((gain, cluster))
    }

    /// Whether a node is read by anything but these kernels.
    fn is_read(&self, id: NodeId, but: &[usize]) -> bool {
        self.wanted.contains(&id)
            || self
                .alone
                .iter()
                .any(|&node| self.graph.operands(node).contains(&id))
            || self.clusters.iter().enumerate().any(|(at, cluster)| {
                !but.contains(&at) && cluster.slice.waits_for().any(|own| own == id)
            })
    }

    /// Whether a node is in memory when all steps are done.
    fn is_there(&self, id: NodeId) -> bool {
        self.known[id.index()]
            || self.alone.contains(&id)
            || self
                .clusters
                .iter()
                .any(|cluster| cluster.roots.contains_key(&id))
    }

    /// What no step reads any more need not be in memory. The clusters that are others now.
    fn drop_unread(&mut self) -> Vec<usize> {
        let mut changed = Vec::new();
        loop {
            let unread = (0..self.clusters.len()).find_map(|at| {
                let roots = &self.clusters[at].roots;
                let unread = roots
                    .keys()
                    .copied()
                    .find(|&root| !self.is_read(root, &[at]));
                unread.map(|root| (at, root))
            });
            let Some((at, root)) = unread else { break };
            let mut cluster = self.clusters[at].clone();
            cluster.roots.remove(&root);
            cluster.slice = self
                .slice(&cluster.space, &cluster.roots)
                .unwrap_or_default();
            self.clusters[at] = cluster;
            changed.push(at);
        }
        // Nor computed, if it stands alone.
        while let Some(&unread) = self.alone.iter().find(|&&id| !self.is_read(id, &[])) {
            self.alone.remove(&unread);
        }
        changed
    }

    /// Whether a kernel that stands for two others would read something that is computed from what it writes.
    fn is_circle(&self, merged: &Cluster, (one, other): (usize, usize)) -> bool {
        let mut writes: BTreeSet<NodeId> = BTreeSet::new();
        for at in [one, other] {
            writes.extend(self.clusters[at].roots.keys());
        }
        let mut open: Vec<NodeId> = merged.slice.waits_for().collect();
        let mut seen: BTreeSet<NodeId> = BTreeSet::new();
        while let Some(id) = open.pop() {
            if self.known[id.index()] || !seen.insert(id) {
                continue;
            }
            if writes.contains(&id) {
                return true;
            }
            open.extend(self.reads_for(id));
        }
        false
    }

    /// What the step that leaves a node in memory reads.
    pub(super) fn reads_for(&self, id: NodeId) -> Vec<NodeId> {
        if self.alone.contains(&id) {
            return self.graph.operands(id);
        }
        let of = self
            .clusters
            .iter()
            .find(|cluster| cluster.roots.contains_key(&id));
        of.map_or(Vec::new(), |cluster| cluster.slice.waits_for().collect())
    }
}
