//! Draws from the likeliest tokens only: `top_k` and `top_p`.

use super::Sampling;

/// The token where `uniform` falls in the cumulative distribution of the tokens that the filters leave, likeliest
/// first; of equally likely ones the lower id comes first.
pub(super) fn draw(logp: &[f64], sampling: &Sampling, uniform: f64) -> usize {
    let mut order: Vec<usize> = (0..logp.len()).collect();
    let likelier = |a: &usize, b: &usize| logp[*b].total_cmp(&logp[*a]).then(a.cmp(b));
    let top_k = sampling.top_k as usize;
    if (1..logp.len()).contains(&top_k) {
        order.select_nth_unstable_by(top_k - 1, likelier);
        order.truncate(top_k);
    }
    order.sort_unstable_by(likelier);
    let mut cumulative = Vec::with_capacity(order.len());
    let mut sum = 0.0;
    for &token in &order {
        if sum >= sampling.top_p {
            break;
        }
        sum += logp[token].exp();
        cumulative.push(sum);
    }
    let threshold = uniform * sum;
    let index = cumulative.partition_point(|&sum| sum <= threshold);
    // A row that is not a number falls beyond the end; its log-probability will say so.
    order[index.min(cumulative.len() - 1)]
}
