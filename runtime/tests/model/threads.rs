//! Outputs and gradients on several threads, bit for bit those on one.

use rlp_runtime::model::{CausalLmConfig, Upstream};

use super::{config, long_batch, model, upstream};

#[test]
fn threads_change_no_bit() {
    let config = CausalLmConfig {
        positions: 400,
        vocab: 1100,
        ..config()
    };
    let model = model(config);
    let batch = long_batch();
    // The value head is libtorch's.
    let upstream = Upstream {
        value: None,
        ..upstream(&batch, 1100)
    };
    let [one, two, three] = [1, 2, 3].map(|threads| {
        tch::set_num_threads(threads);
        let pass = model.forward(&batch, true);
        let outputs = [pass.logp(), pass.entropy()];
        let gradients = pass.backward(&upstream);
        tch::set_num_threads(1);
        outputs.into_iter().chain(gradients).collect::<Vec<_>>()
    });
    for others in [two, three] {
        let mut each = one.iter().zip(&others);
        assert!(each.all(|(one, other)| one.equal(other)));
    }
}
