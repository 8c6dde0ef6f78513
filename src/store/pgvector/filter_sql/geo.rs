//! Places: exact predicates, and the boxes that an index is asked for first.

use qdrant_edge::{GeoBoundingBox, GeoPolygon, GeoRadius};

use super::path::Path;
use super::{Compiler, Param, Scope, any};

/// West, south, east, north.
pub(super) type Bounds = [f64; 4];

const EARTH_RADIUS: f64 = 6_371_008.8;

/// What rounding may cost, in degrees; far more than it does.
const SLACK: f64 = 1e-5;

impl Compiler<'_> {
    pub(super) fn in_circle(&mut self, circle: &GeoRadius, e: &str) -> String {
        let lat = self.params.push(Param::Float(circle.center.lat.0));
        let lon = self.params.push(Param::Float(circle.center.lon.0));
        let radius = self.params.push(Param::Float(circle.radius.0));
        format!("qd.in_circle({e}, {lat}, {lon}, {radius})")
    }

    pub(super) fn in_box(&mut self, bounds: &GeoBoundingBox, e: &str) -> String {
        let top = self.params.push(Param::Float(bounds.top_left.lat.0));
        let left = self.params.push(Param::Float(bounds.top_left.lon.0));
        let bottom = self.params.push(Param::Float(bounds.bottom_right.lat.0));
        let right = self.params.push(Param::Float(bounds.bottom_right.lon.0));
        format!("qd.in_box({e}, {top}, {left}, {bottom}, {right})")
    }

    pub(super) fn in_polygon(&mut self, polygon: &GeoPolygon, e: &str) -> String {
        let mut lines = vec![&polygon.exterior];
        lines.extend(polygon.interiors.iter().flatten());
        let mut floats = Vec::new();
        let mut lengths = Vec::new();
        for line in lines {
            let mut ring: Vec<f64> = Vec::new();
            for point in &line.points {
                ring.extend([point.lon.0, point.lat.0]);
            }
            // Ends that differ by next to nothing pass as closed, and are then closed in truth.
            if let (Some(first), Some(last)) = (line.points.first(), line.points.last())
                && first != last
            {
                ring.extend([first.lon.0, first.lat.0]);
            }
            lengths.push(i32::try_from(ring.len()).unwrap_or(i32::MAX));
            floats.append(&mut ring);
        }
        let floats = self.params.push(Param::Floats(floats));
        let lengths = self.params.push(Param::SmallInts(lengths));
        format!("qd.in_polygon({e}, {floats}, {lengths})")
    }

    /// What an index of places is asked for.
    pub(super) fn near(&mut self, scope: &Scope, path: &Path, boxes: &[Bounds]) -> String {
        let (root, path) = (&scope.root, path.jsonpath());
        let mut either = Vec::new();
        for bounds in boxes {
            let [west, south, east, north] =
                bounds.map(|degrees| self.params.push(Param::Float(degrees)));
            either.push(format!(
                "qd.bbox({root}, {path}) && box(point({west}, {south}), point({east}, {north}))"
            ));
        }
        any(either)
    }
}

/// Boxes that hold every place of a circle on Earth.
pub(super) fn around_circle(circle: &GeoRadius) -> Vec<Bounds> {
    let (lat, lon) = (circle.center.lat.0, circle.center.lon.0);
    let angle = (circle.radius.0 / EARTH_RADIUS).abs();
    let reach = angle.to_degrees() + SLACK;
    let (south, north) = (lat - reach, lat + reach);
    // Round a pole, all meridians are near.
    if !(south > -90.0 && north < 90.0) {
        return vec![[-180.0, south.max(-90.0), 180.0, north.min(90.0)]];
    }
    let width = (angle.sin() / lat.to_radians().cos()).min(1.0).asin();
    let width = width.to_degrees() * (1.0 + SLACK) + SLACK;
    let mut boxes = vec![[lon - width, south, lon + width, north]];
    if lon - width < -180.0 {
        boxes.push([lon - width + 360.0, south, 180.0, north]);
    }
    if lon + width > 180.0 {
        boxes.push([-180.0, south, lon + width - 360.0, north]);
    }
    boxes
}

pub(super) fn around_box(bounds: &GeoBoundingBox) -> Vec<Bounds> {
    let (west, north) = (bounds.top_left.lon.0, bounds.top_left.lat.0);
    let (east, south) = (bounds.bottom_right.lon.0, bounds.bottom_right.lat.0);
    if west > east {
        return vec![[west, south, 180.0, north], [-180.0, south, east, north]];
    }
    vec![[west, south, east, north]]
}

pub(super) fn around_polygon(polygon: &GeoPolygon) -> Vec<Bounds> {
    let mut bounds = [f64::MAX, f64::MAX, f64::MIN, f64::MIN];
    for point in &polygon.exterior.points {
        bounds[0] = bounds[0].min(point.lon.0);
        bounds[1] = bounds[1].min(point.lat.0);
        bounds[2] = bounds[2].max(point.lon.0);
        bounds[3] = bounds[3].max(point.lat.0);
    }
    vec![bounds]
}
