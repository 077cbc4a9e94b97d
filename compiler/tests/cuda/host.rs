//! Runs CUDA C with the host's C++ compiler: a grid of one thread, whose warps have one lane.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::codegen::{Precision, cuda};
use rlp_compiler::kernel::{Form, Kernel, Level};
use rlp_compiler::ty::{DimId, Elem};

/// What CUDA has and C++ lacks, for one thread.
const SHIM: &str = r#"
#include <cmath>
#include <cstdio>
#include <new>
using std::isfinite; using std::isinf;
#define __global__
#define __device__
#define __shared__ static
struct Index { int x; };
static Index threadIdx = {0}, blockIdx = {0}, blockDim = {1}, gridDim = {1};
static void __syncwarp() {}
static void __syncthreads() {}
static int __shfl_xor_sync(unsigned, int mine, int) { return mine; }
"#;

/// The sizes of a kernel's dimensions, the last of three for the cells.
pub(crate) fn sizes(kernel: &Kernel, sizes: [usize; 3]) -> BTreeMap<DimId, usize> {
    let rows = kernel.rows.iter().copied().zip(sizes);
    rows.chain(kernel.cells.iter().map(|&dim| (dim, sizes[2])))
        .collect()
}

/// Numbers that differ, some of them special; the same at each call.
pub(crate) fn inputs(kernel: &Kernel, given: [usize; 3]) -> Vec<Array> {
    let sizes = sizes(kernel, given);
    let array = |(place, input): (usize, &rlp_compiler::kernel::Input)| {
        let shape: Vec<usize> = input.dims.iter().map(|dim| sizes[dim]).collect();
        let n: usize = shape.iter().product();
        let bits = |element: usize| ((element * 37 + place * 101 + 11) * 7919) % 1009;
        let real = |element: usize| match bits(element) {
            0..30 => 0.0,
            bits => bits as f64 / 252.0 - 2.0,
        };
        let elements = match input.elem {
            Elem::Real => Elements::Real((0..n).map(real).collect()),
            Elem::Int => Elements::Int((0..n).map(|it| bits(it) as i64 - 500).collect()),
            Elem::Bool => Elements::Bool((0..n).map(|it| bits(it) % 4 != 0).collect()),
            Elem::Text => unreachable!("no kernel of these reads text"),
        };
        Array { shape, elements }
    };
    kernel.inputs.iter().enumerate().map(array).collect()
}

fn c_type(elem: Elem) -> &'static str {
    match elem {
        Elem::Real => "double",
        Elem::Int => "long long",
        Elem::Bool => "bool",
        Elem::Text => unreachable!("no kernel of these has text"),
    }
}

/// The outputs, as numbers.
pub(crate) fn run(
    name: &str,
    kernel: &Kernel,
    sizes: &BTreeMap<DimId, usize>,
    inputs: &[Array],
) -> Vec<Vec<f64>> {
    let source = cuda::source(kernel, Precision::F64).unwrap_or_else(|why| panic!("{name}: {why}"));
    // One lane is a whole warp, and none waits for another.
    let text = source
        .text
        .replace("const int WARP = 32;", "const int WARP = 1;");
    let rows: usize = kernel.rows.iter().map(|dim| sizes[dim]).product();
    let cells: usize = kernel.cells.iter().map(|dim| sizes[dim]).product();
    let mut main = String::from("int main() {\n");
    let (mut arguments, mut totals, mut results) = (Vec::new(), Vec::new(), Vec::new());
    for (place, array) in inputs.iter().enumerate() {
        let (c_type, elements): (_, Vec<String>) = match &array.elements {
            Elements::Real(values) => (
                "double",
                values.iter().map(|it| format!("{it:?}")).collect(),
            ),
            Elements::Int(values) => (
                "long long",
                values.iter().map(|it| format!("{it}ll")).collect(),
            ),
            Elements::Bool(values) => ("bool", values.iter().map(bool::to_string).collect()),
            Elements::Text(_) => unreachable!("no kernel of these reads text"),
        };
        let elements = if elements.is_empty() {
            "0".to_string()
        } else {
            elements.join(", ")
        };
        let _ = writeln!(main, "static {c_type} a{place}[] = {{{elements}}};");
        arguments.push(format!("a{place}"));
    }
    for (place, output) in kernel.outputs.iter().enumerate() {
        let level = match output.form {
            Form::Cells => Some(Level::Cell),
            Form::Rows => Some(Level::Row),
            Form::Total { .. } => None,
        };
        let n = match level {
            Some(Level::Cell) => rows * cells,
            Some(Level::Row) => rows,
            None => 1,
        };
        let c_type = c_type(kernel.elem(output));
        let _ = writeln!(main, "static {c_type} o{place}[{n} + 1];");
        match level {
            Some(_) => arguments.push(format!("o{place}")),
            None => totals.push(place),
        }
        results.push((place, n));
    }
    for (&place, bytes) in totals.iter().zip(&source.partials) {
        let _ = writeln!(main, "alignas(16) static char p{place}[{bytes}];");
        arguments.push(format!("p{place}"));
    }
    for (place, &elem) in source.scratch.iter().enumerate() {
        let _ = writeln!(
            main,
            "static {} k{place}[{rows} * {cells} + 1];",
            c_type(elem)
        );
        arguments.push(format!("k{place}"));
    }
    arguments.extend(kernel.rows.iter().map(|dim| sizes[dim].to_string()));
    arguments.push(if kernel.cells.is_empty() { 1 } else { cells }.to_string());
    let _ = writeln!(main, "kernel({});", arguments.join(", "));
    if !totals.is_empty() {
        let partials = totals.iter().map(|place| format!("p{place}"));
        let outputs = totals.iter().map(|place| format!("o{place}"));
        let arguments: Vec<String> = partials.chain(outputs).collect();
        let _ = writeln!(main, "totals({}, 1);", arguments.join(", "));
    }
    for (place, n) in results {
        let _ = writeln!(
            main,
            "for (int i = 0; i < {n}; i += 1) printf(\"%.17g \", double(o{place}[i])); printf(\"\\n\");"
        );
    }
    main += "return 0;\n}\n";
    let output = compile_and_run(name, &format!("{SHIM}{text}{main}"));
    output
        .lines()
        .map(|line| {
            line.split_whitespace()
                .map(|it| it.parse().unwrap_or(f64::NAN))
                .collect()
        })
        .collect()
}

fn compile_and_run(name: &str, text: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda");
    std::fs::create_dir_all(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let (source, program) = (folder.join(format!("{name}.cpp")), folder.join(name));
    std::fs::write(&source, text).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_string());
    let compiled = Command::new(&compiler)
        .args(["-std=c++17", "-O0", "-w", "-o"])
        .args([&program, &source])
        .output()
        .unwrap_or_else(|error| {
            panic!("{compiler}, which libtorch's bindings need as well: {error}")
        });
    let errors = String::from_utf8_lossy(&compiled.stderr).into_owned();
    assert!(compiled.status.success(), "{name}: {errors}\n{text}");
    let ran = Command::new(&program)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    assert!(ran.status.success(), "{name} ended with {}", ran.status);
    String::from_utf8_lossy(&ran.stdout).into_owned()
}
