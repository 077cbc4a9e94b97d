//! CUDA C through NVRTC, on machines that have it.

use rlp_runtime::cuda::Nvrtc;

/// Needs no GPU, but NVRTC, which comes with the whole of CUDA only: without it this says why there is none.
#[test]
fn nvrtc_compiles_what_kernels_begin_with() {
    let prelude = include_str!("../../compiler/src/codegen/cuda/prelude.cu");
    let kernel = include_str!("../../compiler/tests/cuda/ppo.cu");
    match Nvrtc::get() {
        Ok(nvrtc) => {
            for real in ["float", "double"] {
                let text = format!("typedef {real} real;\n{prelude}\n{kernel}");
                let code = nvrtc
                    .compile(&text, 90)
                    .unwrap_or_else(|why| panic!("{why}"));
                assert!(code.starts_with(b"\x7fELF"));
            }
            let refused = nvrtc.compile("int main( {", 90).err();
            assert!(refused.is_some_and(|why| why.contains("kernel.cu")));
        }
        Err(why) => assert!(why.contains("cannot open shared object file"), "{why}"),
    }
}
