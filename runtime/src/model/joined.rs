//! The transformer on the CPU, a row of activations a position: products with packed weights, and kernels between them.

use rlp_transformer::{Heads, Packed, Scalar};
use tch::Tensor;

use super::CausalLmConfig;
use super::matrix::{Matrix, Number, elements};

/// The weights with fewer, wider products, laid out for them.
pub(crate) struct Joined<'a, T> {
    pub(crate) config: &'a CausalLmConfig,
    pub(crate) embedding: &'a [T],
    pub(crate) layers: Vec<JoinedLayer<'a, T>>,
    pub(crate) norm: &'a [T],
}

pub(crate) struct JoinedLayer<'a, T> {
    pub(super) attention_norm: &'a [T],
    pub(super) query_key_value: Packed<T>,
    pub(super) attention_output: Packed<T>,
    pub(super) ffn_norm: &'a [T],
    pub(super) gate_up: Packed<T>,
    pub(super) down: Packed<T>,
}

/// Whether products go from inputs to outputs, or from gradients by outputs to those by inputs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    There,
    Back,
}

impl<'a, T: Number> Joined<'a, T> {
    /// From tensors in the order of [`super::CausalLm::parameters`].
    pub(crate) fn new(
        config: &'a CausalLmConfig,
        parameters: &'a [Tensor],
        direction: Direction,
    ) -> Joined<'a, T> {
        let layers = config.layers as usize;
        let pack = |weights: &[Tensor]| packed(weights, direction);
        let layer = |tensors: &'a [Tensor]| JoinedLayer {
            attention_norm: elements(&tensors[0]),
            query_key_value: pack(&tensors[1..4]),
            attention_output: pack(&tensors[4..5]),
            ffn_norm: elements(&tensors[5]),
            gate_up: pack(&tensors[6..8]),
            down: pack(&tensors[8..9]),
        };
        Joined {
            config,
            embedding: elements(&parameters[0]),
            layers: parameters[1..]
                .chunks_exact(9)
                .take(layers)
                .map(layer)
                .collect(),
            norm: elements(&parameters[1 + 9 * layers]),
        }
    }
}

/// Weights `[outputs, inputs]` of one input, their outputs side by side.
pub(crate) fn packed<T: Number>(weights: &[Tensor], direction: Direction) -> Packed<T> {
    let joined = Tensor::cat(weights, 0);
    let (outputs, inputs) = (joined.size()[0] as usize, joined.size()[1] as usize);
    match direction {
        Direction::There => Packed::transposed(elements(&joined), inputs, outputs),
        Direction::Back => Packed::new(elements(&joined), outputs, inputs),
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
        let frequencies = config.rope_frequencies(false);
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

    pub(crate) fn embed(&mut self, weights: &Joined<'_, T>, tokens: &[i64]) {
        self.stream.set_rows(tokens.len());
        let width = self.stream.columns();
        for (row, &token) in tokens.iter().enumerate() {
            let entry = &weights.embedding[token as usize * width..][..width];
            self.stream.row_mut(row).copy_from_slice(entry);
        }
    }

    /// One layer. `attend` is given rows of turned queries, turned keys, and values; it writes what each position reads
    /// from those it sees, and ln Σ e^score of its queries if the way back is to be `kept`.
    pub(crate) fn layer(
        &mut self,
        config: &CausalLmConfig,
        layer: &JoinedLayer<'_, T>,
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
    pub(crate) fn norm(&mut self, config: &CausalLmConfig, weight: &[T]) {
        let rows = self.stream.rows();
        self.normed.set_rows(rows);
        self.scales.resize(rows, Scalar::ZERO);
        T::rms_norm(
            self.stream.slice(),
            weight,
            config.norm_eps,
            self.normed.slice_mut(),
            &mut self.scales,
        );
    }
}
