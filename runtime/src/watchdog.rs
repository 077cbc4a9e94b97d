//! What silently wastes a run, noticed while it goes on: each warned of once.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::report::{RewardVitals, StepRecord, Vitals, Warning};
use crate::state::Exact;

/// After so many steps in a row.
const PATIENCE: u32 = 5;
/// A ratio that is 1 in theory, and this far from it in nats, trains on another policy than the one that sampled.
const MOST_GAP: f64 = 0.1;
/// With more tokens than this outside the usual range, a clipped loss has nearly no gradient left.
const MOST_OUTSIDE: f64 = 0.5;
/// Entropy has collapsed below this share of what it was at first.
const LEAST_ENTROPY: f64 = 0.02;

/// Hears of every step; what it knows is saved with a run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Watchdog {
    stage: String,
    /// In how many steps in a row something was so.
    streaks: BTreeMap<String, u32>,
    told: BTreeSet<String>,
    /// Least and greatest of each reward so far.
    ranges: BTreeMap<String, (Exact, Exact)>,
    /// Entropy and mean rewards of the first step.
    first: Option<(Option<Exact>, BTreeMap<String, Exact>)>,
}

impl Watchdog {
    pub(crate) fn hear(&mut self, step: &StepRecord) -> Vec<Warning> {
        if self.stage != step.stage {
            *self = Watchdog {
                stage: step.stage.clone(),
                told: std::mem::take(&mut self.told),
                ..Watchdog::default()
            };
        }
        let vitals = &step.vitals;
        let (constant, collapsed) = (self.constant(vitals), self.collapsed(vitals));
        let mut found = Vec::new();
        let mut note = |code: &'static str, is_so: bool, patience: u32, message: String| {
            let streak = self.streaks.entry(code.to_string()).or_default();
            *streak = if is_so { *streak + 1 } else { 0 };
            if *streak >= patience {
                found.push((code, message));
            }
        };

        let first_empty = step.without_update.first();
        note(
            "empty-batch",
            first_empty.is_some(),
            1,
            format!(
                "nothing is left to train `{}` on, and its step made no update",
                first_empty.map_or("", String::as_str)
            ),
        );
        let gap = step.logp_gap.unwrap_or(0.0);
        note(
            "ratio-not-one",
            gap > MOST_GAP,
            1,
            format!(
                "before the first update of a step, a token's probability is {:.2} times or 1/{0:.2} of what was recorded when it was sampled",
                gap.exp()
            ),
        );
        let outside = vitals.outside.unwrap_or(0.0);
        note(
            "ratio-outside",
            outside > MOST_OUTSIDE,
            PATIENCE,
            format!(
                "in the last update of each step, {:.0} % of the tokens have left the range that losses clip to",
                100.0 * outside
            ),
        );
        note(
            "rollouts-cut",
            vitals.cut == Some(1.0),
            PATIENCE,
            "every response is cut at `max_tokens`, and none ends by itself".to_string(),
        );
        note(
            "constant-reward",
            constant.is_some(),
            PATIENCE,
            constant.unwrap_or_default(),
        );
        let alike = alike(vitals);
        note(
            "constant-groups",
            alike.is_some(),
            PATIENCE,
            alike.unwrap_or_default(),
        );
        note(
            "entropy-collapsed",
            collapsed.is_some(),
            PATIENCE,
            collapsed.unwrap_or_default(),
        );
        // A reward that never varies makes constant groups, and is the better reason.
        let is_constant = found.iter().any(|(code, _)| *code == "constant-reward");
        found.retain(|(code, _)| !(is_constant && *code == "constant-groups"));
        found.retain(|(code, _)| self.told.insert((*code).to_string()));
        let warning = |(code, message)| Warning {
            code,
            stage: step.stage.clone(),
            step: step.step,
            message,
        };
        found.into_iter().map(warning).collect()
    }

    /// Says so if a reward has been the same for every response of every step.
    fn constant(&mut self, vitals: &Vitals) -> Option<String> {
        let mut said = None;
        // A number that is not finite has no place in what is saved.
        let is_finite =
            |reward: &&RewardVitals| reward.least.is_finite() && reward.most.is_finite();
        for reward in vitals.rewards.iter().filter(is_finite) {
            let (mut least, mut most) = (reward.least, reward.most);
            if let Some((Exact(before), Exact(above))) = self.ranges.get(&reward.name) {
                (least, most) = (least.min(*before), most.max(*above));
            }
            let range = (Exact(least), Exact(most));
            self.ranges.insert(reward.name.clone(), range);
            if least == most {
                said = said.or(Some(format!(
                    "`{}` is {least} for every response so far: there is nothing to learn from it",
                    reward.name
                )));
            }
        }
        said
    }

    /// Says so if the policy has become sure of its tokens without having become better.
    fn collapsed(&mut self, vitals: &Vitals) -> Option<String> {
        let means = || {
            let rewards = vitals.rewards.iter();
            rewards
                .filter(|reward| reward.mean.is_finite())
                .map(|reward| (reward.name.clone(), Exact(reward.mean)))
        };
        let entropy_now = vitals.entropy.filter(|entropy| entropy.is_finite());
        let (entropy, rewards) = self
            .first
            .get_or_insert_with(|| (entropy_now.map(Exact), means().collect()));
        let (Exact(first), now) = ((*entropy)?, entropy_now?);
        let is_better =
            means().any(|(name, mean)| rewards.get(&name).is_some_and(|first| mean.0 > first.0));
        let is_so = now < LEAST_ENTROPY * first && !rewards.is_empty() && !is_better;
        is_so.then(|| {
            format!(
                "the entropy of the sampled tokens fell from {first:.3} to {now:.4} nats, and no reward is higher than at first"
            )
        })
    }
}

/// Says so if some reward tells no response of any group from the others.
fn alike(vitals: &Vitals) -> Option<String> {
    let is_alike = |reward: &&RewardVitals| {
        let groups = reward.groups.as_ref();
        groups.is_some_and(|groups| groups.all > 0 && groups.constant == groups.all)
    };
    let reward = vitals.rewards.iter().find(is_alike)?;
    Some(format!(
        "`{}` is the same for all responses to a prompt, for every prompt: what compares them with each other is 0",
        reward.name
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn step(number: u64, logp_gap: f64, cut: f64) -> StepRecord {
        StepRecord {
            stage: "rl".to_string(),
            step: number,
            steps: 20,
            trained: Vec::new(),
            without_update: Vec::new(),
            metrics: Vec::new(),
            tokens: 0,
            seconds: 0.0,
            logp_gap: Some(logp_gap),
            vitals: Vitals {
                cut: Some(cut),
                ..Vitals::default()
            },
            samples: Vec::new(),
        }
    }

    fn codes(watchdog: &mut Watchdog, step: &StepRecord) -> Vec<&'static str> {
        let warnings = watchdog.hear(step);
        warnings.iter().map(|warning| warning.code).collect()
    }

    #[test]
    fn a_ratio_that_is_not_one_is_told_at_once_and_once() {
        let mut watchdog = Watchdog::default();
        assert_eq!(codes(&mut watchdog, &step(1, 1e-4, 0.0)), [""; 0]);
        assert_eq!(codes(&mut watchdog, &step(2, 0.2, 0.0)), ["ratio-not-one"]);
        assert_eq!(codes(&mut watchdog, &step(3, 0.2, 0.0)), [""; 0]);
        let saved = serde_json::to_string(&watchdog).unwrap();
        let mut resumed: Watchdog = serde_json::from_str(&saved).unwrap();
        assert_eq!(codes(&mut resumed, &step(4, 0.2, 0.0)), [""; 0]);
    }

    #[test]
    fn only_steps_in_a_row_count() {
        let mut watchdog = Watchdog::default();
        for number in 1..=12 {
            // The fifth is another one.
            let cut = if number == 5 { 0.9 } else { 1.0 };
            let expected: &[&str] = if number == 10 { &["rollouts-cut"] } else { &[] };
            assert_eq!(codes(&mut watchdog, &step(number, 0.0, cut)), expected);
        }
    }
}
