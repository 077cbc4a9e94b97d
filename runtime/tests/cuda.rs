//! Opening CUDA first thing in a process, on whatever machine this is.
//!
//! Alone in its file, because what comes before in the process decides it.

use rlp_runtime::cuda::{CudaError, open_cuda};
use tch::{Device, Kind, Tensor};

/// What libtorch says when it makes no tensor on the GPU.
///
/// Without its CUDA half it knows no operation there, `Could not run 'aten::empty…`. With the half opened too late it says
/// `Cannot initialize CUDA without ATen_cuda library`, which must not come up.
fn refusal() -> Option<String> {
    let made = Tensor::f_ones([2], (Kind::Float, Device::Cuda(0)));
    made.err()
        .map(|error| error.to_string().chars().take(200).collect())
}

#[test]
fn libtorch_has_a_cuda_half_exactly_if_it_was_opened() {
    let opened = open_cuda();
    tch::set_num_threads(1);
    // Settles what libtorch thinks of CUDA, so that opening it only now would be too late.
    tch::manual_seed(1);
    let refusal = refusal();
    let says = |text| {
        refusal
            .as_deref()
            .is_some_and(|refusal| refusal.contains(text))
    };
    match opened {
        Ok(count) => {
            assert!(count > 0);
            assert_eq!(refusal, None);
        }
        Err(CudaError::Library(loader)) => {
            assert!(
                loader.contains("cannot open shared object file"),
                "{loader}"
            );
            assert!(says("Could not run 'aten::empty"), "{refusal:?}");
        }
        Err(CudaError::Driver) => assert!(says("Found no NVIDIA driver"), "{refusal:?}"),
        Err(CudaError::Device) => {
            assert!(refusal.is_some());
            assert!(!says("ATen_cuda") && !says("Could not run"), "{refusal:?}");
        }
    }
}
