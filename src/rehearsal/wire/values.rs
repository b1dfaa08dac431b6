//! What Parse and Bind say of a statement's parameters.

use super::body::Body;

/// One value of a Bind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BindValue<'a> {
    /// The bytes; `None` for NULL.
    pub bytes: Option<&'a [u8]>,
    /// In the binary form of its type, not as text.
    pub binary: bool,
}

/// The values in order, of [`Bind::values`](super::Bind::values).
#[must_use]
pub fn bind_values(values: &[u8]) -> Option<Vec<BindValue<'_>>> {
    let mut body = Body::new("Bind", values);
    let formats: Vec<u16> = (0..body.u16().ok()?)
        .map(|_| body.u16().ok())
        .collect::<Option<_>>()?;
    (0..usize::from(body.u16().ok()?))
        .map(|index| {
            let length = body.i32().ok()?;
            // None is text for all, one is for all.
            let format = match formats.as_slice() {
                [] => 0,
                [all] => *all,
                each => *each.get(index)?,
            };
            let bytes = match usize::try_from(length) {
                Ok(length) => Some(body.take(length).ok()?),
                Err(_) => None,
            };
            Some(BindValue {
                bytes,
                binary: format != 0,
            })
        })
        .collect()
}

/// The types in order, by their numbers, of [`Parse::types`](super::Parse::types); 0 for one that the
/// server is to find.
#[must_use]
pub fn parse_types(types: &[u8]) -> Option<Vec<u32>> {
    if types.is_empty() {
        return Some(Vec::new());
    }
    let mut body = Body::new("Parse", types);
    (0..body.u16().ok()?).map(|_| body.u32().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_as_they_were_put_together() {
        let bound = [
            0, 2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 2, b'i', b't', 255, 255, 255, 255, 0, 0,
        ];
        let values = bind_values(&bound).unwrap();
        assert_eq!(values[0].bytes, Some(&b"it"[..]));
        assert!(!values[0].binary);
        assert_eq!(values[1].bytes, None);
        assert!(values[1].binary);
        assert!(bind_values(&bound[..12]).is_none());
        assert!(bind_values(&[0, 0, 0, 0, 0, 0]).unwrap().is_empty());
    }

    #[test]
    fn types_are_numbers() {
        assert_eq!(parse_types(&[0, 1, 0, 0, 0, 23]).unwrap(), [23]);
        assert!(parse_types(&[0, 0]).unwrap().is_empty());
        assert!(parse_types(&[0, 1, 0]).is_none());
    }
}
