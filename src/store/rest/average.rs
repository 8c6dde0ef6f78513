//! Recommendation by an average: one vector out of many examples.

use std::collections::BTreeMap;

use qdrant_edge::{SparseVector, TypedMultiDenseVector, VectorInternal};

use crate::error::{Error, Result};
use crate::wire::rest::refuse;

/// `avg(positives)` if there are no negatives, else `2 · avg(positives) - avg(negatives)`.
pub(super) fn recommended(
    positives: Vec<VectorInternal>,
    negatives: Vec<VectorInternal>,
) -> Result<VectorInternal> {
    let positive = average(positives)?;
    if negatives.is_empty() {
        return Ok(positive);
    }
    merge(positive, average(negatives)?)
}

#[derive(Default)]
struct Sums {
    dense: Vec<f32>,
    dense_count: u32,
    sparse: BTreeMap<u32, f32>,
    sparse_count: u32,
    multi: Option<TypedMultiDenseVector<f32>>,
}

fn average(vectors: Vec<VectorInternal>) -> Result<VectorInternal> {
    let mut sums = Sums::default();
    for vector in vectors {
        match vector {
            VectorInternal::Dense(vector) => {
                sums.dense_count += 1;
                add(&mut sums.dense, &vector);
            }
            VectorInternal::Sparse(vector) => {
                sums.sparse_count += 1;
                for (index, value) in vector.indices.into_iter().zip(vector.values) {
                    *sums.sparse.entry(index).or_insert(0.0) += value;
                }
            }
            // The rows of all examples, one after the other: the search looks at each.
            VectorInternal::MultiDense(rows) => match &mut sums.multi {
                None => sums.multi = Some(rows),
                Some(all) => all.flattened_vectors.extend(rows.flattened_vectors),
            },
        }
    }
    match (sums.dense_count, sums.sparse_count, sums.multi) {
        (0, 0, None) => Err(refuse::wrong_input(
            "Positive vectors should not be empty with `average` strategy",
        )),
        (count, 0, None) => {
            let count = to_f32(count);
            let mean = sums.dense.into_iter().map(|sum| sum / count);
            Ok(VectorInternal::Dense(mean.collect()))
        }
        (0, count, None) => {
            let count = to_f32(count);
            let mean = sums.sparse.into_iter().map(|(at, sum)| (at, sum / count));
            Ok(sparse(mean))
        }
        (0, 0, Some(rows)) => Ok(VectorInternal::MultiDense(rows)),
        (_, _, _) => Err(refuse::wrong_input(
            "Can't average vectors with different types",
        )),
    }
}

fn add(sum: &mut Vec<f32>, vector: &[f32]) {
    let common = sum.len().min(vector.len());
    for (sum, value) in sum.iter_mut().zip(vector) {
        *sum += value;
    }
    sum.extend_from_slice(vector.get(common..).unwrap_or_default());
}

#[expect(clippy::cast_precision_loss, reason = "a number of examples")]
fn to_f32(count: u32) -> f32 {
    count as f32
}

fn sparse(entries: impl Iterator<Item = (u32, f32)>) -> VectorInternal {
    let (indices, values) = entries.unzip();
    VectorInternal::Sparse(SparseVector { indices, values })
}

fn merge(positive: VectorInternal, negative: VectorInternal) -> Result<VectorInternal> {
    match (positive, negative) {
        (VectorInternal::Dense(positive), VectorInternal::Dense(negative)) => {
            let pairs = positive.into_iter().zip(negative);
            let vector = pairs.map(|(positive, negative)| positive + positive - negative);
            Ok(VectorInternal::Dense(vector.collect()))
        }
        (VectorInternal::Sparse(positive), VectorInternal::Sparse(negative)) => {
            let mut merged = BTreeMap::new();
            for (index, value) in positive.indices.into_iter().zip(positive.values) {
                merged.insert(index, value + value);
            }
            for (index, value) in negative.indices.into_iter().zip(negative.values) {
                *merged.entry(index).or_insert(0.0) -= value;
            }
            Ok(sparse(merged.into_iter()))
        }
        (VectorInternal::MultiDense(mut positive), VectorInternal::MultiDense(negative)) => {
            let away = negative.flattened_vectors.into_iter().map(|value| -value);
            positive.flattened_vectors.extend(away);
            Ok(VectorInternal::MultiDense(positive))
        }
        (
            VectorInternal::Dense(_) | VectorInternal::Sparse(_) | VectorInternal::MultiDense(_),
            _,
        ) => Err(mixed()),
    }
}

fn mixed() -> Error {
    refuse::wrong_input(
        "Positive and negative vectors should be of the same type, \
         either all dense or all sparse or all multi",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dense(vector: &[f32]) -> VectorInternal {
        VectorInternal::Dense(vector.to_vec())
    }

    fn entries(entries: &[(u32, f32)]) -> VectorInternal {
        sparse(entries.iter().copied())
    }

    fn rows(flat: &[f32]) -> VectorInternal {
        VectorInternal::MultiDense(TypedMultiDenseVector {
            flattened_vectors: flat.to_vec(),
            dim: 2,
        })
    }

    #[test]
    fn examples_become_one_vector_of_their_kind() {
        for (positives, negatives, wanted) in [
            (
                vec![dense(&[1.0, 2.0]), dense(&[3.0, 0.0])],
                vec![],
                dense(&[2.0, 1.0]),
            ),
            (
                vec![dense(&[1.0, 2.0])],
                vec![dense(&[3.0, 0.0])],
                dense(&[-1.0, 4.0]),
            ),
            (
                vec![entries(&[(1, 1.0)]), entries(&[(1, 1.0), (2, 2.0)])],
                vec![entries(&[(2, 1.0), (7, 3.0)])],
                entries(&[(1, 2.0), (2, 1.0), (7, -3.0)]),
            ),
            (
                vec![rows(&[1.0, 2.0]), rows(&[3.0, 4.0])],
                vec![rows(&[5.0, 6.0])],
                rows(&[1.0, 2.0, 3.0, 4.0, -5.0, -6.0]),
            ),
        ] {
            assert_eq!(recommended(positives, negatives).unwrap(), wanted);
        }
    }

    #[test]
    fn what_has_no_average_is_refused_in_qdrants_words() {
        for (positives, negatives, text) in [
            (
                vec![],
                vec![dense(&[1.0])],
                "Wrong input: Positive vectors should not be empty with `average` strategy",
            ),
            (
                vec![dense(&[1.0]), entries(&[(1, 1.0)])],
                vec![],
                "Wrong input: Can't average vectors with different types",
            ),
            (
                vec![dense(&[1.0])],
                vec![rows(&[1.0, 2.0])],
                "Wrong input: Positive and negative vectors should be of the same type, \
                 either all dense or all sparse or all multi",
            ),
        ] {
            let error = recommended(positives, negatives).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
    }
}
