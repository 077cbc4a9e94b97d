//! Where the time of a run goes: by phase of the loop, by call of a block, by part of a model's work.
//!
//! Spans are opened where work is done, and nest. A span's own time is what none inside it took, so the times of all
//! rows add up to the whole. The profile belongs to the thread that runs the loop, and code far from it (a decoder) finds
//! it there without being handed it. Without a profile nothing reads a clock.

mod report;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rlp_compiler::graph::{Call, Graph, ModelOutput, NodeId, Op};
use rlp_grammar::ast::Span;

use crate::clock::{Elapsed, cpu_time, wait_for};
use crate::memory;
use crate::tensor::Device;
pub(crate) use report::Profile;

/// A part of a step of the loop.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Draws, and what of them is computed once a step: rewards, advantages, reference models.
    Rollout,
    /// A minibatch's loss and its gradient by the parameters.
    Update,
    Optimizer,
    /// Reports, evaluations, states.
    Report,
}

/// Work inside a call that is better told apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) enum Work {
    PromptReading,
    Decoding,
    /// A model's hidden states.
    Forward,
    /// From hidden states to log-probabilities, and back.
    Head,
    /// From a gradient by the hidden states to one by the parameters.
    Backward,
    /// libtorch's autograd through a loss.
    LossGradient,
}

/// What a span is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Label<'a> {
    Stage(&'a str),
    Phase(Phase),
    /// A node of a graph, for the call of a block that it belongs to.
    Node(&'a Graph, NodeId),
    /// An optimizer's rule, with all nodes of its own graph.
    Rule(&'a str, Span),
    Work(Work),
}

thread_local! {
    static IS_ON: Cell<bool> = const { Cell::new(false) };
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

/// How closely a profile looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Detail {
    /// Phases, and the work of models in them: a few spans a step, which cost nothing.
    Phases,
    /// Also every call of a block, and what a trace shows.
    Calls,
}

/// Begins a profile of what this thread does, on the device where it does it.
pub(crate) fn start(device: Device, detail: Detail) {
    RECORDER.set(Some(Recorder::new(device, detail)));
    IS_ON.set(true);
}

/// Ends the profile, if there is one.
pub(crate) fn finish() -> Option<Profile> {
    IS_ON.set(false);
    RECORDER.take().map(Recorder::finish)
}

/// The time of each phase and work.
pub(crate) type Totals = BTreeMap<(Option<Phase>, Option<Work>), Elapsed>;

/// What was taken so far by closed spans; empty without a profile.
pub(crate) fn totals() -> Totals {
    let mut totals = Totals::new();
    RECORDER.with_borrow(|recorder| {
        for row in recorder.iter().flat_map(|recorder| &recorder.rows) {
            *totals.entry((row.key.phase, row.key.work)).or_default() += Elapsed {
                wall: row.own.as_secs_f64(),
                cpu: row.own_cpu.as_secs_f64(),
            };
        }
    });
    totals
}

/// Does `run`, and takes its time if there is a profile.
pub(crate) fn within<T>(label: Label<'_>, run: impl FnOnce() -> T) -> T {
    if !IS_ON.get() {
        return run();
    }
    let is_open = with_recorder(|recorder| recorder.enter(label));
    let result = run();
    if is_open {
        with_recorder(Recorder::leave);
    }
    result
}

fn with_recorder<T: Default>(of: impl FnOnce(&mut Recorder) -> T) -> T {
    RECORDER.with_borrow_mut(|recorder| recorder.as_mut().map(of).unwrap_or_default())
}

/// What a row is about; each entry may be absent, for the time between the spans that have it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Key {
    /// Index among the stages.
    stage: Option<usize>,
    phase: Option<Phase>,
    place: Option<Place>,
    work: Option<Work>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Place {
    span: Span,
    /// The block that is called there; none for an expression of the pipeline itself.
    block: Option<String>,
}

struct Row {
    key: Key,
    own: Duration,
    /// Of all threads; that of nodes counts for the phase or work around them, since asking for it takes as long as a
    /// small node.
    own_cpu: Duration,
    /// How often each node of it was computed, or the whole where there are no nodes.
    counts: BTreeMap<Option<NodeId>, u64>,
}

/// An open span.
struct Frame {
    row: usize,
    start: Instant,
    /// Absent for a node.
    cpu: Option<Duration>,
    /// What the spans inside it took.
    inner: Duration,
    inner_cpu: Duration,
    is_rule: bool,
}

/// A closed span, for the trace.
struct Event {
    row: usize,
    start: Duration,
    length: Duration,
}

/// Shorter spans are left out of the trace: there are very many, and nobody sees them.
const SHORTEST_EVENT: Duration = Duration::from_micros(20);
/// The trace ends with so many events; a program that shows it takes no more either.
const MOST_EVENTS: usize = 500_000;

struct Recorder {
    device: Device,
    detail: Detail,
    start: Instant,
    stages: Vec<String>,
    rows: Vec<Row>,
    index: HashMap<Key, usize>,
    frames: Vec<Frame>,
    events: Vec<Event>,
    /// The most memory that was resident when the profile began, and in each phase of each stage, in bytes.
    loaded: Option<u64>,
    peaks: BTreeMap<(usize, Phase), u64>,
}

impl Recorder {
    fn new(device: Device, detail: Detail) -> Recorder {
        let start = Instant::now();
        let mut recorder = Recorder {
            device,
            detail,
            start,
            stages: Vec::new(),
            rows: Vec::new(),
            index: HashMap::new(),
            frames: Vec::new(),
            events: Vec::new(),
            loaded: memory::peak(),
            peaks: BTreeMap::new(),
        };
        recorder.push(Key::default(), None, false);
        recorder
    }

    /// Opens a span; false if the one around it is to have its time.
    fn enter(&mut self, label: Label<'_>) -> bool {
        let Some(around) = self.frames.last() else {
            return false;
        };
        let is_call = matches!(label, Label::Node(..));
        if around.is_rule || is_call && self.detail == Detail::Phases {
            return false;
        }
        let outer = self.rows[around.row].key.clone();
        let (key, node) = match label {
            Label::Stage(name) => {
                self.stages.push(name.to_string());
                let stage = Some(self.stages.len() - 1);
                (
                    Key {
                        stage,
                        ..Key::default()
                    },
                    None,
                )
            }
            Label::Phase(phase) => (
                Key {
                    stage: outer.stage,
                    phase: Some(phase),
                    ..Key::default()
                },
                None,
            ),
            Label::Node(graph, node) => {
                let place = Some(place_of(graph, node));
                (
                    Key {
                        place,
                        work: None,
                        ..outer
                    },
                    Some(node),
                )
            }
            Label::Rule(block, span) => {
                let place = Some(Place {
                    span,
                    block: Some(block.to_string()),
                });
                (
                    Key {
                        place,
                        work: None,
                        ..outer
                    },
                    None,
                )
            }
            Label::Work(work) => (
                Key {
                    work: Some(work),
                    ..outer
                },
                None,
            ),
        };
        if self.detail == Detail::Calls && matches!(label, Label::Phase(_)) {
            memory::forget_peak();
        }
        self.push(key, node, matches!(label, Label::Rule(..)));
        true
    }

    fn push(&mut self, key: Key, node: Option<NodeId>, is_rule: bool) {
        let row = match self.index.get(&key) {
            Some(&row) => row,
            None => {
                self.rows.push(Row {
                    key: key.clone(),
                    own: Duration::ZERO,
                    own_cpu: Duration::ZERO,
                    counts: BTreeMap::new(),
                });
                self.index.insert(key, self.rows.len() - 1);
                self.rows.len() - 1
            }
        };
        *self.rows[row].counts.entry(node).or_default() += 1;
        wait_for(self.device);
        self.frames.push(Frame {
            row,
            cpu: node.is_none().then(cpu_time),
            start: Instant::now(),
            inner: Duration::ZERO,
            inner_cpu: Duration::ZERO,
            is_rule,
        });
    }

    /// Closes the innermost span.
    fn leave(&mut self) {
        wait_for(self.device);
        let Some(frame) = self.frames.pop() else {
            return;
        };
        let length = frame.start.elapsed();
        let cpu = match frame.cpu {
            Some(start) => cpu_time().saturating_sub(start),
            None => frame.inner_cpu,
        };
        let key = &self.rows[frame.row].key;
        if let (Some(stage), Some(phase), None, None, Detail::Calls) =
            (key.stage, key.phase, &key.place, key.work, self.detail)
        {
            let most = self.peaks.entry((stage, phase)).or_default();
            *most = memory::peak().unwrap_or_default().max(*most);
        }
        let row = &mut self.rows[frame.row];
        row.own += length.saturating_sub(frame.inner);
        row.own_cpu += cpu.saturating_sub(frame.inner_cpu);
        if let Some(around) = self.frames.last_mut() {
            around.inner += length;
            around.inner_cpu += cpu;
        }
        let is_traced = self.detail == Detail::Calls && length >= SHORTEST_EVENT;
        if is_traced && self.events.len() < MOST_EVENTS {
            self.events.push(Event {
                row: frame.row,
                start: frame.start - self.start,
                length,
            });
        }
    }

    fn finish(mut self) -> Profile {
        // Also spans that an error left open.
        while !self.frames.is_empty() {
            self.leave();
        }
        Profile::new(&self)
    }
}

/// The outermost call that a node belongs to: the one that stands in the pipeline. A draw and a model's output are
/// calls of their own.
fn place_of(graph: &Graph, id: NodeId) -> Place {
    let node = graph.node(id);
    if let Op::Draw(index) = &node.op {
        let draw = &graph.draws[*index];
        return Place {
            span: draw.span,
            block: Some(draw.block.clone()),
        };
    }
    if let Op::Model { output, .. } = &node.op {
        let name = match output {
            ModelOutput::Logp => "logp",
            ModelOutput::Entropy => "entropy",
            ModelOutput::Value => "value",
            ModelOutput::Logits => "logits",
            ModelOutput::Hidden => "hidden",
        };
        return Place {
            span: node.span,
            block: Some(name.to_string()),
        };
    }
    let mut outermost: Option<&Call> = None;
    let mut next = node.call;
    while let Some(call) = next.and_then(|id| graph.calls.get(id.0 as usize)) {
        outermost = Some(call);
        next = call.parent;
    }
    match outermost {
        Some(call) => Place {
            span: call.span,
            block: Some(call.block.clone()),
        },
        None => Place {
            span: node.span,
            block: None,
        },
    }
}
