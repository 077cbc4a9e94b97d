//! `--set name=value`: from an argument of the command line to a setting.

/// Splits `lr=3e-4` into name and value. Whether a pipeline has such a parameter, and whether the value
/// suits it, is the compiler's business.
///
/// # Errors
/// A sentence when there is no `=`, or when what stands before it is no name.
pub fn parse_setting(argument: &str) -> Result<(String, String), String> {
    let Some((name, value)) = argument.split_once('=') else {
        return Err(format!(
            "a setting is written name=value, and `{argument}` has no `=`"
        ));
    };
    let (name, value) = (name.trim(), value.trim());
    if !is_name(name) {
        return Err(format!(
            "a setting is written name=value, and `{name}` is not a name"
        ));
    }
    if value.is_empty() {
        return Err(format!(
            "a setting is written name=value, and nothing follows `{name}=`"
        ));
    }
    Ok((name.to_string(), value.to_string()))
}

/// A name, or names joined by dots (`state.momentum`).
fn is_name(text: &str) -> bool {
    text.split('.').all(|part| {
        part.chars()
            .next()
            .is_some_and(|first| first.is_alphabetic() || first == '_')
            && part
                .chars()
                .all(|letter| letter.is_alphanumeric() || letter == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_name_and_a_value() {
        assert_eq!(parse_setting("lr=3e-4"), Ok(("lr".into(), "3e-4".into())));
        assert_eq!(
            parse_setting(" ops = \"+-\" "),
            Ok(("ops".into(), "\"+-\"".into()))
        );
        assert_eq!(
            parse_setting("state.momentum=0"),
            Ok(("state.momentum".into(), "0".into()))
        );
        assert_eq!(
            parse_setting("formula=a=b"),
            Ok(("formula".into(), "a=b".into()))
        );
    }

    #[test]
    fn what_is_no_setting_is_refused_in_a_sentence() {
        let refused = |argument| parse_setting(argument).unwrap_err();
        assert_eq!(
            refused("lr"),
            "a setting is written name=value, and `lr` has no `=`"
        );
        assert_eq!(
            refused("=1"),
            "a setting is written name=value, and `` is not a name"
        );
        assert_eq!(
            refused("3=1"),
            "a setting is written name=value, and `3` is not a name"
        );
        assert_eq!(
            refused("lr="),
            "a setting is written name=value, and nothing follows `lr=`"
        );
    }
}
