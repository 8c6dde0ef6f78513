//! The parameters of a statement under construction. Values never become text of it.

use bytes::{BufMut, BytesMut};
use qdrant_edge::external::uuid::Uuid;
use tokio_postgres::types::{IsNull, ToSql, Type};

type Refused = Box<dyn std::error::Error + Sync + Send>;

/// More than this PostgreSQL's protocol does not take.
pub(in crate::store::pgvector) const PARAMS_MAX: usize = 65_535;

#[derive(Clone, Debug, PartialEq)]
pub(in crate::store::pgvector) enum Param {
    Int(i64),
    Ints(Vec<i64>),
    /// `int4[]`
    SmallInts(Vec<i32>),
    /// In decimal.
    Numeric(String),
    Float(f64),
    Floats(Vec<f64>),
    Reals(Vec<f32>),
    Text(String),
    Texts(Vec<String>),
    Bytes(Vec<u8>),
    ByteArrays(Vec<Vec<u8>>),
    Uuids(Vec<Uuid>),
    /// The text of a jsonb.
    Json(String),
    Vector(pgvector::Vector),
}

impl Param {
    fn cast(&self) -> &'static str {
        match self {
            Self::Int(_) => "int8",
            Self::Ints(_) => "int8[]",
            Self::SmallInts(_) => "int4[]",
            // There is no decimal type on this side: it travels as text.
            Self::Numeric(_) => "text::numeric",
            Self::Float(_) => "float8",
            Self::Floats(_) => "float8[]",
            Self::Reals(_) => "float4[]",
            Self::Text(_) => "text",
            Self::Texts(_) => "text[]",
            Self::Bytes(_) => "bytea",
            Self::ByteArrays(_) => "bytea[]",
            Self::Uuids(_) => "uuid[]",
            Self::Json(_) => "jsonb",
            Self::Vector(_) => "vector",
        }
    }
}

impl ToSql for Param {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Refused> {
        match self {
            Self::Int(value) => value.to_sql(kind, out),
            Self::Ints(values) => values.to_sql(kind, out),
            Self::SmallInts(values) => values.to_sql(kind, out),
            Self::Float(value) => value.to_sql(kind, out),
            Self::Floats(values) => values.to_sql(kind, out),
            Self::Reals(values) => values.to_sql(kind, out),
            Self::Numeric(text) | Self::Text(text) => text.to_sql(kind, out),
            Self::Texts(texts) => texts.to_sql(kind, out),
            Self::Bytes(bytes) => bytes.to_sql(kind, out),
            Self::ByteArrays(arrays) => arrays.to_sql(kind, out),
            Self::Uuids(uuids) => uuids.to_sql(kind, out),
            Self::Json(text) => {
                if *kind == Type::JSONB {
                    // The version of the format.
                    out.put_u8(1);
                }
                out.put_slice(text.as_bytes());
                Ok(IsNull::No)
            }
            Self::Vector(vector) => vector.to_sql(kind, out),
        }
    }

    // Every place of a parameter names the type that its value is cast to.
    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Refused> {
        self.to_sql(kind, out)
    }
}

#[derive(Debug, Default)]
pub(in crate::store::pgvector) struct Params(Vec<Param>);

impl Params {
    pub(in crate::store::pgvector) fn new() -> Self {
        Self::default()
    }

    /// Adds a value; the answer is what stands for it in the statement.
    pub(in crate::store::pgvector) fn push(&mut self, param: Param) -> String {
        let cast = param.cast();
        self.0.push(param);
        format!("${}::{cast}", self.0.len())
    }

    pub(in crate::store::pgvector) fn len(&self) -> usize {
        self.0.len()
    }

    /// As a driver wants them that takes them one by one.
    pub(in crate::store::pgvector) fn values(
        &self,
    ) -> impl ExactSizeIterator<Item = &(dyn ToSql + Sync)> {
        self.0.iter().map(|param| {
            let param: &(dyn ToSql + Sync) = param;
            param
        })
    }

    /// As a driver wants them.
    pub(in crate::store::pgvector) fn refs(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values().collect()
    }
}
