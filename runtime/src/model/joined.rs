//! The transformer on the CPU, a row of activations a position: matrix products by libtorch, all else by kernels.

use rlp_transformer::{Heads, Scalar};
use tch::Tensor;

use super::config::CausalLmConfig;
use super::matrix::{Matrix, Number, elements};
use super::parameters;

/// The weights with fewer, wider products.
pub(crate) struct Joined<'a> {
    pub(crate) config: &'a CausalLmConfig,
    pub(crate) embedding: &'a Tensor,
    pub(crate) layers: Vec<JoinedLayer<'a>>,
    pub(crate) norm: &'a Tensor,
    pub(crate) head: &'a Tensor,
}

pub(crate) struct JoinedLayer<'a> {
    pub(super) attention_norm: &'a Tensor,
    /// `[hidden, queries + keys + values]`, and so on: transposed views, as products want them.
    pub(super) query_key_value: Tensor,
    pub(super) attention_output: Tensor,
    pub(super) ffn_norm: &'a Tensor,
    pub(super) gate_up: Tensor,
    pub(super) down: Tensor,
}

impl<'a> Joined<'a> {
    /// From tensors in the order of [`super::CausalLm::parameters`].
    pub(crate) fn new(config: &'a CausalLmConfig, parameters: &'a [Tensor]) -> Joined<'a> {
        let layers = config.layers as usize;
        let layer = |tensors: &'a [Tensor]| JoinedLayer {
            attention_norm: &tensors[0],
            query_key_value: Tensor::cat(&tensors[1..4], 0).tr(),
            attention_output: tensors[4].tr(),
            ffn_norm: &tensors[5],
            gate_up: Tensor::cat(&tensors[6..8], 0).tr(),
            down: tensors[8].tr(),
        };
        Joined {
            config,
            embedding: &parameters[0],
            layers: parameters[1..]
                .chunks_exact(9)
                .take(layers)
                .map(layer)
                .collect(),
            norm: &parameters[1 + 9 * layers],
            head: &parameters[parameters::head(config)],
        }
    }
}

pub(crate) fn heads(config: &CausalLmConfig) -> Heads {
    Heads {
        queries: config.heads as usize,
        keys: config.kv_heads as usize,
        width: config.head_width() as usize,
    }
}

/// Cosines and sines of the rotary angles, half a head's width for each position from 0.
pub(crate) struct Angles<T> {
    pub(crate) cosines: Vec<T>,
    pub(crate) sines: Vec<T>,
    half: usize,
}

impl<T: Number> Angles<T> {
    pub(crate) fn new(config: &CausalLmConfig, positions: usize) -> Angles<T> {
        let half = config.head_width() as usize / 2;
        // In f64, since an f32 angle at position 10⁵ is off by several thousandths.
        let frequency = |index: usize| config.rope_theta.powf(-(index as f64) / half as f64);
        let frequencies: Vec<f64> = (0..half).map(frequency).collect();
        let angles = (0..positions).flat_map(|position| {
            frequencies
                .iter()
                .map(move |frequency| position as f64 * frequency)
        });
        let (sines, cosines) = angles
            .map(f64::sin_cos)
            .map(|(sine, cosine)| (T::from_f64(sine), T::from_f64(cosine)))
            .unzip();
        Angles {
            cosines,
            sines,
            half,
        }
    }

    /// The sines of the opposite rotation.
    pub(super) fn opposite(&self) -> Vec<T> {
        self.sines.iter().map(|&sine| -sine).collect()
    }

    /// Those of the given positions, in their order.
    pub(crate) fn of(&self, positions: impl Iterator<Item = usize> + Clone) -> Angles<T> {
        let pick = |all: &[T]| {
            let rows = positions.clone();
            rows.flat_map(|position| all[position * self.half..][..self.half].iter().copied())
                .collect()
        };
        Angles {
            cosines: pick(&self.cosines),
            sines: pick(&self.sines),
            half: self.half,
        }
    }
}

/// What a position is turned into on its way through the layers, kept from call to call for its memory.
pub(crate) struct Activations<T> {
    /// The residual stream.
    pub(crate) stream: Matrix<T>,
    pub(crate) normed: Matrix<T>,
    query_key_value: Matrix<T>,
    mixed: Matrix<T>,
    gate_up: Matrix<T>,
    gated: Matrix<T>,
    normalisers: Vec<T>,
    /// Of the last norm.
    pub(crate) scales: Vec<T>,
}

/// What the way back through a layer needs.
pub(crate) struct Kept<T> {
    /// The residual stream before the layer.
    pub(super) stream: Matrix<T>,
    pub(super) query_key_value: Matrix<T>,
    pub(super) mixed: Matrix<T>,
    /// ln Σ e^score of each query head at each position.
    pub(super) normalisers: Vec<T>,
    /// The residual stream between attention and the feed-forward layer.
    pub(super) between: Matrix<T>,
    pub(super) gate_up: Matrix<T>,
}

impl<T: Number> Activations<T> {
    pub(crate) fn new(config: &CausalLmConfig) -> Activations<T> {
        let (hidden, ffn) = (config.hidden as usize, config.ffn as usize);
        let matrix = |columns| Matrix::new(0, columns);
        Activations {
            stream: matrix(hidden),
            normed: matrix(hidden),
            query_key_value: matrix(heads(config).row()),
            mixed: matrix(hidden),
            gate_up: matrix(2 * ffn),
            gated: matrix(ffn),
            normalisers: Vec::new(),
            scales: Vec::new(),
        }
    }

    pub(crate) fn embed(&mut self, weights: &Joined<'_>, tokens: &[i64]) {
        let table = elements::<T>(weights.embedding);
        self.stream.set_rows(tokens.len());
        let width = self.stream.columns();
        for (row, &token) in tokens.iter().enumerate() {
            let entry = &table[token as usize * width..][..width];
            self.stream.row_mut(row).copy_from_slice(entry);
        }
    }

    /// One layer. `attend` is given rows of turned queries, turned keys, and values; it writes what each position reads
    /// from those it sees, and ln Σ e^score of its queries if the way back is to be `kept`.
    pub(crate) fn layer(
        &mut self,
        config: &CausalLmConfig,
        layer: &JoinedLayer<'_>,
        angles: &Angles<T>,
        kept: Option<&mut Vec<Kept<T>>>,
        attend: impl FnOnce(&Matrix<T>, &mut Matrix<T>, &mut Vec<T>),
    ) {
        let heads = heads(config);
        let stream = kept.is_some().then(|| self.stream.copy());
        self.norm(config, layer.attention_norm);
        self.query_key_value
            .set_product(&self.normed, &layer.query_key_value);
        let turned = heads.queries + heads.keys;
        let rows = self.query_key_value.slice_mut();
        T::rotate(rows, heads.row(), turned, &angles.cosines, &angles.sines);
        self.mixed.set_rows(self.stream.rows());
        attend(
            &self.query_key_value,
            &mut self.mixed,
            &mut self.normalisers,
        );
        self.stream
            .add_product(&self.mixed, &layer.attention_output);

        self.norm(config, layer.ffn_norm);
        self.gate_up.set_product(&self.normed, &layer.gate_up);
        self.gated.set_rows(self.stream.rows());
        T::gate(
            self.gate_up.slice(),
            config.ffn as usize,
            self.gated.slice_mut(),
        );
        if let (Some(kept), Some(stream)) = (kept, stream) {
            kept.push(Kept {
                stream,
                query_key_value: self.query_key_value.take(),
                mixed: self.mixed.take(),
                normalisers: std::mem::take(&mut self.normalisers),
                between: self.stream.copy(),
                gate_up: self.gate_up.take(),
            });
        }
        self.stream.add_product(&self.gated, &layer.down);
    }

    /// Normalises the stream.
    pub(crate) fn norm(&mut self, config: &CausalLmConfig, weight: &Tensor) {
        let rows = self.stream.rows();
        self.normed.set_rows(rows);
        self.scales.resize(rows, Scalar::ZERO);
        T::rms_norm(
            self.stream.slice(),
            elements(weight),
            config.norm_eps,
            self.normed.slice_mut(),
            &mut self.scales,
        );
    }
}
