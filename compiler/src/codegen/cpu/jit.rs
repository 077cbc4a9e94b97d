//! From instructions to memory that can be called.
#![expect(
    unsafe_code,
    reason = "turns an address into a function, and frees its memory"
)]

use std::sync::Arc;

use cranelift_codegen::Context;
use cranelift_codegen::ir::{AbiParam, FuncRef, Type, types};
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::settings::{self, Configurable, SettingKind};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, default_libcall_names};

use super::lane::{Calls, Constants, Emit, Lanes};
use crate::codegen::text::Referent;
use crate::codegen::{Declined, Precision};

/// A function in memory of its own.
pub(in crate::codegen) struct Callable {
    /// Owns the memory; there until it is dropped.
    module: Option<JITModule>,
    entry: extern "C" fn(*const u64),
}

// SAFETY: after `assemble` nothing changes the module, whose memory is then only read and executed; `drop` has it alone.
unsafe impl Sync for Callable {}
// SAFETY: as above; no part of it belongs to a thread.
unsafe impl Send for Callable {}

impl Callable {
    /// Runs on the rows and cells that the frame names.
    ///
    /// # Safety
    /// The frame has the words of `frame::Words` for the kernel's layout, every array is as long as its dimensions say and
    /// of its element, no other thread writes what the chunk reads or writes, and scratch memory and totals have room.
    pub(in crate::codegen) unsafe fn call(&self, frame: &[u64]) {
        (self.entry)(frame.as_ptr());
    }
}

impl Drop for Callable {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the only address of its code is `entry`, which goes with `self`, and `call` borrows `self`.
            unsafe { module.free_memory() }
        }
    }
}

/// A function with what it reads besides its frame.
pub(super) struct Assembled {
    pub(super) callable: Callable,
    /// Vector constants.
    pub(super) constants: Vec<u128>,
    pub(super) referents: Vec<Referent>,
}

/// A function whose body `build` adds, and whose parameter is the address of a frame.
pub(super) fn assemble(
    precision: Precision,
    verify: bool,
    build: impl FnOnce(&mut Emit) -> Result<(), Declined>,
) -> Result<Assembled, Declined> {
    let mut builder = JITBuilder::with_isa(host(verify)?, default_libcall_names());
    for function in FUNCTIONS {
        builder.symbol(
            function.name,
            match precision {
                Precision::F32 => function.f32,
                Precision::F64 => function.f64,
            } as *const u8,
        );
    }
    let mut module = JITModule::new(builder);
    let mut context = module.make_context();
    let pointer = module.target_config().pointer_type();
    context.func.signature.params.push(AbiParam::new(pointer));
    let mut functions = FunctionBuilderContext::new();
    let mut body = FunctionBuilder::new(&mut context.func, &mut functions);
    let calls = declare_calls(&mut module, &mut body, precision)?;
    let mut emit = Emit {
        builder: &mut body,
        constants: Constants::default(),
        referents: Vec::new(),
        lanes: Lanes::scalar(precision),
        calls,
        found: Vec::new(),
        around: Vec::new(),
    };
    build(&mut emit)?;
    let (constants, referents) = (emit.constants.words, emit.referents);
    body.finalize(module.target_config());
    Ok(Assembled {
        callable: finish(module, context)?,
        constants,
        referents,
    })
}

fn finish(mut module: JITModule, mut context: Context) -> Result<Callable, Declined> {
    let signature = context.func.signature.clone();
    let id = module
        .declare_function("kernel", Linkage::Export, &signature)
        .map_err(refused)?;
    module.define_function(id, &mut context).map_err(refused)?;
    module.finalize_definitions().map_err(refused)?;
    let address = module.get_finalized_function(id);
    // SAFETY: the address is that of a function with the signature declared above, in the host's C convention.
    let entry = unsafe { std::mem::transmute::<*const u8, extern "C" fn(*const u64)>(address) };
    Ok(Callable {
        module: Some(module),
        entry,
    })
}

fn refused(error: impl std::fmt::Debug) -> Declined {
    Declined::new(format!("Cranelift refuses it: {error:?}"))
}

/// The processor that we run on.
fn host(verify: bool) -> Result<Arc<dyn TargetIsa>, Declined> {
    let mut flags = settings::builder();
    for (name, value) in [
        // What is generated has nothing left to remove, and constants that are moved out of loops only come back from the stack.
        ("opt_level", "none"),
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
        ("enable_verifier", if verify { "true" } else { "false" }),
    ] {
        flags.set(name, value).map_err(refused)?;
    }
    let isa = cranelift_native::builder()
        .map_err(refused)?
        .finish(settings::Flags::new(flags))
        .map_err(refused)?;
    let lacks = |name: &str| {
        isa.isa_flags().iter().any(|flag| {
            flag.name == name && flag.kind() == SettingKind::Bool && flag.as_bool() == Some(false)
        })
    };
    if lacks("has_fma") || lacks("has_sse41") {
        return Err(Declined::new(
            "the processor has no fused multiply-add for vectors",
        ));
    }
    Ok(isa)
}

/// A function that has no instructions of ours, in both precisions.
struct Function {
    name: &'static str,
    operands: usize,
    f32: *const (),
    f64: *const (),
}

// SAFETY: the addresses are those of functions, which any thread may call.
unsafe impl Sync for Function {}

macro_rules! functions {
    ($($name:ident($($x:ident),+) = $method:expr;)+) => {
        &[$(Function {
            name: concat!("rlpc_", stringify!($name)),
            operands: [$(stringify!($x)),+].len(),
            f32: {
                extern "C" fn single($($x: f32),+) -> f32 { $method }
                single as *const ()
            },
            f64: {
                extern "C" fn double($($x: f64),+) -> f64 { $method }
                double as *const ()
            },
        }),+]
    };
}

/// In the order of `Calls`.
static FUNCTIONS: &[Function] = functions! {
    sin(x) = x.sin();
    cos(x) = x.cos();
    tan(x) = x.tan();
    atan(x) = x.atan();
    pow(x, y) = x.powf(y);
    remainder(x, y) = x % y;
};

fn declare_calls(
    module: &mut JITModule,
    body: &mut FunctionBuilder,
    precision: Precision,
) -> Result<Calls, Declined> {
    let ty: Type = match precision {
        Precision::F32 => types::F32,
        Precision::F64 => types::F64,
    };
    let mut declared: Vec<FuncRef> = Vec::new();
    for function in FUNCTIONS {
        let mut signature = module.make_signature();
        signature.params = vec![AbiParam::new(ty); function.operands];
        signature.returns = vec![AbiParam::new(ty)];
        let id = module
            .declare_function(function.name, Linkage::Import, &signature)
            .map_err(refused)?;
        declared.push(module.declare_func_in_func(id, body.func));
    }
    Ok(Calls {
        sin: declared[0],
        cos: declared[1],
        tan: declared[2],
        atan: declared[3],
        pow: declared[4],
        remainder: declared[5],
    })
}
