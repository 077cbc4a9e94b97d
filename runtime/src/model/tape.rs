//! One way through the layers on the CPU that remembers what the way back needs, and that way back, written out.

use std::sync::{Mutex, PoisonError};

use rlp_transformer::{Heads, Scalar, Scratch};
use tch::Tensor;

use super::CausalLmConfig;
use super::crew::{InTurns, each, threads};
use super::joined::{Activations, Angles, Direction, Joined, JoinedLayer, Kept, heads};
use super::matrix::{Matrix, Number, elements};
use super::packing::Chunk;

/// What was read, chunk by chunk.
pub(super) struct Tape<T> {
    chunks: Vec<(Chunk, Record<T>)>,
}

/// What became of a chunk.
struct Record<T> {
    angles: Angles<T>,
    layers: Vec<Kept<T>>,
    /// The residual stream after the last layer, and the scale of its norm.
    stream: Matrix<T>,
    scales: Vec<T>,
}

/// Reads all chunks: the normalised hidden states `[response token, hidden]` that predict each response token, and what
/// the way back needs, if it is to `keep` that.
pub(super) fn read<T: Number>(
    config: &CausalLmConfig,
    parameters: &[Tensor],
    chunks: Vec<Chunk>,
    keep: bool,
) -> (Tensor, Tape<T>) {
    let weights = Joined::new(config, parameters, Direction::There);
    let predicted = chunks.iter().map(|chunk| chunk.predicting.len()).sum();
    let mut hidden = Matrix::new(predicted, config.hidden as usize);
    let longest = chunks.iter().flat_map(|chunk| &chunk.places).max();
    let all_angles = Angles::new(config, longest.map_or(0, |place| place + 1));
    let heads = heads(config);
    let records: Vec<InTurns<Option<Record<T>>>> =
        chunks.iter().map(|_| InTurns::new(None)).collect();
    // Each chunk predicts tokens of its own.
    let normed = Mutex::new(&mut hidden);
    each(
        threads(),
        chunks.iter().zip(&records),
        || (Activations::<T>::new(config), Scratch::default()),
        |crew, (activations, scratch), _, (chunk, place)| {
            let angles = all_angles.of(chunk.places.iter().copied());
            let mut layers = Vec::new();
            activations.embed(&weights, &chunk.tokens);
            for layer in &weights.layers {
                activations.layer(
                    config,
                    layer,
                    &angles,
                    keep.then_some(&mut layers),
                    |rows, mixed, normalisers| {
                        normalisers.resize(rows.rows() * heads.queries, Scalar::ZERO);
                        for span in &chunk.spans {
                            T::attend(
                                heads,
                                rows.slice(),
                                span,
                                scratch,
                                mixed.slice_mut(),
                                normalisers,
                            );
                        }
                    },
                );
            }
            activations.norm(config, weights.norm);
            let mut normed = normed.lock().unwrap_or_else(PoisonError::into_inner);
            for &(token, position) in &chunk.predicting {
                let row = activations.normed.row(position);
                normed.row_mut(token).copy_from_slice(row);
            }
            drop(normed);
            if keep {
                let record = Record {
                    angles,
                    layers,
                    stream: activations.stream.copy(),
                    scales: activations.scales.clone(),
                };
                crew.at(place, 0, |place| *place = Some(record));
            }
        },
    );
    let records = records.into_iter().map(InTurns::into_inner);
    let of_chunk = |(chunk, record): (Chunk, Option<Record<T>>)| Some((chunk, record?));
    let tape = Tape {
        chunks: chunks
            .into_iter()
            .zip(records)
            .filter_map(of_chunk)
            .collect(),
    };
    (hidden.into_tensor(), tape)
}

/// The gradients of a layer, as its weights are joined.
struct LayerGradients<T> {
    attention_norm: Matrix<T>,
    query_key_value: Matrix<T>,
    attention_output: Matrix<T>,
    ffn_norm: Matrix<T>,
    gate_up: Matrix<T>,
    down: Matrix<T>,
}

impl<T: Number> LayerGradients<T> {
    fn new(config: &CausalLmConfig) -> LayerGradients<T> {
        let (hidden, ffn) = (config.hidden as usize, config.ffn as usize);
        LayerGradients {
            attention_norm: Matrix::new(1, hidden),
            query_key_value: Matrix::new(heads(config).row(), hidden),
            attention_output: Matrix::new(hidden, hidden),
            ffn_norm: Matrix::new(1, hidden),
            gate_up: Matrix::new(2 * ffn, hidden),
            down: Matrix::new(hidden, ffn),
        }
    }

    /// In the order of the parameters.
    fn apart(self, config: &CausalLmConfig) -> [Tensor; 9] {
        let Heads {
            queries,
            keys,
            width,
        } = heads(config);
        let (queries, keys, ffn) = ((queries * width) as i64, (keys * width) as i64, config.ffn);
        let query_key_value = self.query_key_value.into_tensor();
        let gate_up = self.gate_up.into_tensor();
        [
            self.attention_norm.into_tensor().squeeze_dim(0),
            query_key_value.narrow(0, 0, queries),
            query_key_value.narrow(0, queries, keys),
            query_key_value.narrow(0, queries + keys, keys),
            self.attention_output.into_tensor(),
            self.ffn_norm.into_tensor().squeeze_dim(0),
            gate_up.narrow(0, 0, ffn),
            gate_up.narrow(0, ffn, ffn),
            self.down.into_tensor(),
        ]
    }
}

impl<T: Number> Tape<T> {
    /// The gradients by the parameters up to the last norm, in their order, from that by the hidden states.
    pub(super) fn backward(
        self,
        config: &CausalLmConfig,
        parameters: &[Tensor],
        hidden_gradient: &Tensor,
    ) -> Vec<Tensor> {
        let weights = Joined::new(config, parameters, Direction::Back);
        let hidden_gradient = hidden_gradient.contiguous();
        let upstream = elements::<T>(&hidden_gradient);
        let hidden = config.hidden as usize;
        let embedding = InTurns::new(Matrix::<T>::new(config.vocab as usize, hidden));
        let layers = (0..config.layers).map(|_| InTurns::new(LayerGradients::new(config)));
        let layers: Vec<InTurns<LayerGradients<T>>> = layers.collect();
        let norm = InTurns::new(Matrix::<T>::new(1, hidden));
        each(
            threads(),
            self.chunks.into_iter(),
            || WayBack::new(config),
            |crew, way, turn, (chunk, record)| {
                way.normed_gradient.set_rows(chunk.tokens.len());
                way.normed_gradient.slice_mut().fill(Scalar::ZERO);
                for &(token, position) in &chunk.predicting {
                    let from = &upstream[token * hidden..][..hidden];
                    add(way.normed_gradient.row_mut(position), from);
                }
                way.stream_gradient.set_rows(chunk.tokens.len());
                way.stream_gradient.slice_mut().fill(Scalar::ZERO);
                crew.at(&norm, turn, |norm| {
                    T::rms_norm_backward(
                        record.stream.slice(),
                        weights.norm,
                        &record.scales,
                        way.normed_gradient.slice(),
                        way.stream_gradient.slice_mut(),
                        norm.slice_mut(),
                    );
                });
                let each = weights.layers.iter().zip(&layers).zip(record.layers);
                for ((layer, gradients), kept) in each.rev() {
                    crew.at(gradients, turn, |gradients| {
                        way.ffn(config, layer, &kept, gradients);
                        way.attention(config, layer, &kept, &chunk, &record.angles, gradients);
                    });
                }
                crew.at(&embedding, turn, |embedding| {
                    for (position, &token) in chunk.tokens.iter().enumerate() {
                        let row = way.stream_gradient.row(position);
                        add(embedding.row_mut(token as usize), row);
                    }
                });
            },
        );
        let mut gradients = vec![embedding.into_inner().into_tensor()];
        let layers = layers.into_iter().map(InTurns::into_inner);
        gradients.extend(layers.flat_map(|layer| layer.apart(config)));
        gradients.push(norm.into_inner().into_tensor().squeeze_dim(0));
        gradients
    }
}

fn add<T: Number>(to: &mut [T], from: &[T]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

/// Gradients by what stands between the weights, kept from layer to layer for their memory.
struct WayBack<T> {
    /// By the residual stream.
    stream_gradient: Matrix<T>,
    normed: Matrix<T>,
    normed_gradient: Matrix<T>,
    scales: Vec<T>,
    gated: Matrix<T>,
    gated_gradient: Matrix<T>,
    gate_up_gradient: Matrix<T>,
    mixed_gradient: Matrix<T>,
    query_key_value_gradient: Matrix<T>,
    scratch: Scratch<T>,
}

impl<T: Number> WayBack<T> {
    fn new(config: &CausalLmConfig) -> WayBack<T> {
        let (hidden, ffn) = (config.hidden as usize, config.ffn as usize);
        let matrix = |columns| Matrix::new(0, columns);
        WayBack {
            stream_gradient: matrix(hidden),
            normed: matrix(hidden),
            normed_gradient: matrix(hidden),
            scales: Vec::new(),
            gated: matrix(ffn),
            gated_gradient: matrix(ffn),
            gate_up_gradient: matrix(2 * ffn),
            mixed_gradient: matrix(hidden),
            query_key_value_gradient: matrix(heads(config).row()),
            scratch: Scratch::default(),
        }
    }

    /// Back through stream + down(gate(norm(stream))).
    fn ffn(
        &mut self,
        config: &CausalLmConfig,
        layer: &JoinedLayer<'_, T>,
        kept: &Kept<T>,
        gradients: &mut LayerGradients<T>,
    ) {
        self.gated_gradient
            .set_product(&self.stream_gradient, &layer.down);
        self.gated.set_rows(self.stream_gradient.rows());
        self.gate_up_gradient.set_rows(self.stream_gradient.rows());
        T::gate_backward(
            kept.gate_up.slice(),
            config.ffn as usize,
            self.gated_gradient.slice(),
            self.gate_up_gradient.slice_mut(),
            self.gated.slice_mut(),
        );
        gradients
            .down
            .add_product_across(&self.stream_gradient, &self.gated);
        self.norm(config, layer.ffn_norm, &kept.between);
        gradients
            .gate_up
            .add_product_across(&self.gate_up_gradient, &self.normed);
        self.normed_gradient
            .set_product(&self.gate_up_gradient, &layer.gate_up);
        self.norm_backward(layer.ffn_norm, &kept.between, &mut gradients.ffn_norm);
    }

    /// Back through stream + output(attend(norm(stream))).
    fn attention(
        &mut self,
        config: &CausalLmConfig,
        layer: &JoinedLayer<'_, T>,
        kept: &Kept<T>,
        chunk: &Chunk,
        angles: &Angles<T>,
        gradients: &mut LayerGradients<T>,
    ) {
        let heads = heads(config);
        self.mixed_gradient
            .set_product(&self.stream_gradient, &layer.attention_output);
        gradients
            .attention_output
            .add_product_across(&self.stream_gradient, &kept.mixed);
        self.query_key_value_gradient
            .set_rows(self.stream_gradient.rows());
        self.query_key_value_gradient.slice_mut().fill(Scalar::ZERO);
        for span in &chunk.spans {
            T::attend_backward(
                heads,
                kept.query_key_value.slice(),
                span,
                kept.mixed.slice(),
                &kept.normalisers,
                self.mixed_gradient.slice(),
                &mut self.scratch,
                self.query_key_value_gradient.slice_mut(),
            );
        }
        // A rotation is undone by the opposite one, and its transpose is that too.
        let turned = heads.queries + heads.keys;
        let rows = self.query_key_value_gradient.slice_mut();
        T::rotate(
            rows,
            heads.row(),
            turned,
            &angles.cosines,
            &angles.opposite(),
        );
        self.norm(config, layer.attention_norm, &kept.stream);
        gradients
            .query_key_value
            .add_product_across(&self.query_key_value_gradient, &self.normed);
        self.normed_gradient
            .set_product(&self.query_key_value_gradient, &layer.query_key_value);
        self.norm_backward(
            layer.attention_norm,
            &kept.stream,
            &mut gradients.attention_norm,
        );
    }

    /// Computes a norm again.
    fn norm(&mut self, config: &CausalLmConfig, weight: &[T], input: &Matrix<T>) {
        self.normed.set_rows(input.rows());
        self.scales.resize(input.rows(), Scalar::ZERO);
        let (output, scales) = (self.normed.slice_mut(), &mut self.scales);
        T::rms_norm(input.slice(), weight, config.norm_eps, output, scales);
    }

    /// Back through the norm computed last; its gradient joins that of the stream.
    fn norm_backward(&mut self, weight: &[T], input: &Matrix<T>, weight_gradient: &mut Matrix<T>) {
        T::rms_norm_backward(
            input.slice(),
            weight,
            &self.scales,
            self.normed_gradient.slice(),
            self.stream_gradient.slice_mut(),
            weight_gradient.slice_mut(),
        );
    }
}
