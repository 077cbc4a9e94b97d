//! What would not fit into the memory of a machine, where the pipeline asks for it, and how to mend it.

use rlp_compiler::diagnostic::Diagnostic;
use rlp_compiler::plan::Plan;
use rlp_record::number::bytes;

use crate::account::{Account, Options, Phase, PhaseAccount, account};
use crate::memory::Term;

/// One diagnostic for each phase of a stage that needs more than `most` bytes.
pub fn misfits(plan: &Plan, own: &Account, options: Options, most: u64) -> Vec<Diagnostic> {
    let shown = |amount: u64| bytes(amount as f64);
    let mut found = Vec::new();
    if own.loading.total() > most {
        let largest = own.models.iter().max_by_key(|model| model.parameters);
        if let Some(model) = largest {
            let message = format!(
                "to load the models takes {}, and there are {}",
                shown(own.loading.total()),
                shown(most)
            );
            let count = format!("`{}` has {} parameters", model.name, model.parameters);
            found.push(
                Diagnostic::error("memory-exceeded", model.span, message)
                    .here(count)
                    .help("a smaller model, or `dtype: \"bf16\"` for one that is not trained"),
            );
            // All else follows from it.
            return found;
        }
    }
    for stage in &own.stages {
        for phase in Phase::ALL {
            let Some(worst) = stage.peak(phase) else {
                continue;
            };
            let (peak, largest) = (worst.peak, worst.peak.largest());
            if peak.total() <= most {
                continue;
            }
            let message = format!(
                "the {} of stage `{}` takes {}, and there are {}",
                phase.name(),
                stage.name,
                shown(peak.total()),
                shown(most)
            );
            let told = format!("{} of it for {}", shown(peak[largest]), largest.name());
            let help = match phase {
                Phase::Update => smaller_passes(plan, worst, options, most),
                Phase::Rollout | Phase::Evaluation => fewer_rows(worst, most),
                Phase::Loading | Phase::Optimizer | Phase::Saving => None,
            };
            let help = help.unwrap_or_else(|| {
                "a smaller model, or a rule with fewer states: weights, gradients and states alone are too much"
                    .to_string()
            });
            found.push(
                Diagnostic::error("memory-exceeded", worst.span, message)
                    .here(told)
                    .help(help),
            );
        }
    }
    found
}

/// The largest micro-batch with which a clause fits; or that layers are to be computed again.
fn smaller_passes(
    plan: &Plan,
    worst: &PhaseAccount,
    options: Options,
    most: u64,
) -> Option<String> {
    let fits = |plan: &Plan| {
        let own = account(plan, options, None).ok()?;
        let phases = own.stages.iter().flat_map(|stage| &stage.phases);
        let mut same = phases.filter(|own| own.phase == Phase::Update && own.span == worst.span);
        same.all(|own| own.peak.total() <= most).then_some(())
    };
    let mut changed = plan.clone();
    let mut rows = worst.rows?;
    while rows > 1 {
        rows = if rows.is_power_of_two() {
            rows / 2
        } else {
            rows.next_power_of_two() / 2
        };
        let trains = changed
            .stages
            .iter_mut()
            .flat_map(|stage| &mut stage.trains);
        trains
            .filter(|train| train.span == worst.span)
            .for_each(|train| train.micro_batch = Some(rows));
        if fits(&changed).is_some() {
            return Some(format!("micro_batch {rows}"));
        }
    }
    let is_of_layers = worst.peak[Term::Activations] > worst.peak.total() / 2;
    is_of_layers.then(|| {
        "`recompute: true` on the model, and `micro_batch 1`, or shorter responses".to_string()
    })
}

/// How many responses would fit, by what each takes.
fn fewer_rows(worst: &PhaseAccount, most: u64) -> Option<String> {
    let of_rows = [Term::Cache, Term::Logp, Term::Activations, Term::Graph];
    let moving: u64 = of_rows.iter().map(|&term| worst.peak[term]).sum();
    let room = most.checked_sub(worst.peak.total() - moving)?;
    let rows = worst.rows?;
    let fitting = (rows as f64 * room as f64 / moving.max(1) as f64) as u64;
    (fitting > 0).then(|| {
        format!("fewer `prompts` or `samples` at once: {fitting} responses of {rows} fit; or a smaller `max_tokens`")
    })
}
