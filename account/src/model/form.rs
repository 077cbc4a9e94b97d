//! What sets families of decoder-only transformers apart, as data: one description for all, and few branches on it.

use super::config::CausalLmConfig;

/// The form of a transformer beside its sizes. The default is Llama's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Form {
    /// Width of a head; `None` is `hidden / heads`.
    pub head_width: Option<i64>,
    pub activation: Activation,
    pub bias: Bias,
    /// Whether queries and keys are normalised, head by head, before they are turned.
    pub head_norms: bool,
    /// Whether what attention and feed-forward layers give is normalised before it joins the stream.
    pub post_norms: bool,
    /// Whether the weights of norms are stored less 1.
    pub norms_from_one: bool,
    /// What embeddings are multiplied by.
    pub embedding_scale: Option<f64>,
    /// What products of queries and keys are multiplied by; `None` is 1 / √(width of a head).
    pub attention_scale: Option<f64>,
    /// Scores s of attention become c · tanh(s / c).
    pub attention_cap: Option<f64>,
    /// Logits likewise.
    pub logit_cap: Option<f64>,
    pub rope_scaling: RopeScaling,
    /// Layers that see only what is near.
    pub local: Option<Local>,
}

/// The non-linearity of the gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    #[default]
    Silu,
    /// GELU by its tanh approximation.
    GeluTanh,
}

/// Which linear maps have a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bias {
    pub query_key_value: bool,
    pub attention_output: bool,
    pub ffn: bool,
}

/// How the frequencies of rotary positions differ from θ^(−2i / width).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum RopeScaling {
    #[default]
    None,
    /// All divided by the factor.
    Linear { factor: f64 },
    /// Llama 3.1: waves longer than `original / low` divided by the factor, those shorter than `original / high` as they
    /// are, and between the two a blend.
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: f64,
    },
}

/// Layers whose positions see only those before them at a distance below `window`.
#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    pub window: i64,
    /// Of each layer, whether it is one.
    pub layers: Vec<bool>,
    /// Base of their rotary wavelengths, which are not scaled; `None` if they turn as the other layers do.
    pub rope_theta: Option<f64>,
}

impl CausalLmConfig {
    /// Whether the kernels of the CPU compute this form.
    pub fn is_llama(&self) -> bool {
        let form = Form {
            rope_scaling: RopeScaling::None,
            ..self.form.clone()
        };
        form == Form::default()
    }

    pub fn is_local(&self, layer: usize) -> bool {
        let local = self.form.local.as_ref();
        local.is_some_and(|local| local.layers[layer])
    }

    /// How far a layer of either kind sees: the window of local layers, or `None`.
    pub fn window(&self, is_local: bool) -> Option<i64> {
        let local = self.form.local.as_ref().filter(|_| is_local);
        local.map(|local| local.window)
    }

    pub fn attention_scale(&self) -> f64 {
        let width = self.head_width() as f64;
        self.form.attention_scale.unwrap_or(width.powf(-0.5))
    }

    /// Radians a position of each pair of a head's elements, for layers of either kind.
    ///
    /// In f64, since an f32 angle at position 10⁵ is off by several thousandths.
    pub fn rope_frequencies(&self, is_local: bool) -> Vec<f64> {
        let own = self.form.local.as_ref().filter(|_| is_local);
        let (theta, scaling) = match own.and_then(|local| local.rope_theta) {
            Some(theta) => (theta, RopeScaling::None),
            None => (self.rope_theta, self.form.rope_scaling),
        };
        let half = self.head_width() / 2;
        let frequency = |index: i64| theta.powf(-(index as f64) / half as f64);
        (0..half)
            .map(|index| scaling.of(frequency(index)))
            .collect()
    }
}

impl RopeScaling {
    fn of(self, frequency: f64) -> f64 {
        match self {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => {
                let waves = original * frequency / std::f64::consts::TAU;
                let kept = ((waves - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - kept) * frequency / factor + kept * frequency
            }
        }
    }
}
