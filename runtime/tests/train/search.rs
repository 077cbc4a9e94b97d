//! A search over the steps of a run.

use tch::Kind;

use crate::program::told;

/// The worked example of the page on arXiv:2310.04373: 24 evaluations of (x − 0.23)² + 2 (y − 0.48)².
#[test]
fn nelder_and_mead_find_the_least_value() {
    let program = |ready: &str| {
        format!(
            "pipeline p {{
                stage find {{
                    steps 130
                    let simplex: real[corner, objective] = [[0.1, 0.3], [0.2, 0.6], [0.3, 0.35]]
                    state point = at(simplex, corner: 0)
                    let x = at(point, objective: 0)
                    let y = at(point, objective: 1)
                    let value = (x - 0.23)^2 + 2 * (y - 0.48)^2
                    let tried = search.nelder_mead({ready}, tol: 1e-4)
                    point <- tried.point
                    report evaluations = tried.evaluations, value = tried.value, done = real(tried.done),
                           x = at(tried.best, objective: 0), y = at(tried.best, objective: 1), stays = x
                }}
            }}"
        )
    };
    let whole = told(&program("value, point, simplex"), 0, Kind::Double);
    // Of three steps two are not ready, and hold what is not a number.
    let slow = told(
        &program(
            "if mod(step, 3) == 0 { value } else { nan }, point, simplex, ready: mod(step, 3) == 0",
        ),
        0,
        Kind::Double,
    );
    for told in [whole, slow] {
        let last = |name: &str| *told.metric(name).last().unwrap();
        assert_eq!(last("evaluations"), 24.0);
        assert_eq!(last("done"), 1.0);
        assert!((last("x") - 0.231_496_620_2).abs() < 1e-9, "{}", last("x"));
        assert!((last("y") - 0.481_019_306_2).abs() < 1e-9, "{}", last("y"));
        assert!(
            (last("value") - 4.317_8e-6).abs() < 1e-10,
            "{}",
            last("value")
        );
        assert_eq!(last("stays"), last("x"));
    }
}

/// What a run measures may be no number: it stops there, and says of which value.
#[test]
fn a_value_that_is_not_a_number_stops_the_run() {
    let failed = crate::program::try_told(
        "pipeline p {
            stage find {
                steps 3
                let simplex: real[corner, objective] = [[0.1], [0.2]]
                state point = at(simplex, corner: 0)
                let tried = search.nelder_mead(log(sum(point) - 0.1), point, simplex)
                point <- tried.point
                report value = tried.value
            }
        }",
        0,
        Kind::Double,
    );
    let error = failed.expect_err("log 0 is infinite").to_string();
    assert!(error.contains("is_finite"), "{error}");
}
