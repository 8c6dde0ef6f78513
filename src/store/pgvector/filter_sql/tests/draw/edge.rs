//! What is hard to get right: texts that are nearly dates, and regions with a place at their very
//! edge.

use serde_json::{Value, json};

use super::Draw;

impl Draw {
    /// A date, or something that is nearly one.
    pub(in crate::store::pgvector::filter_sql::tests) fn date_like(&mut self) -> String {
        let blank = |draw: &mut Self| match draw.below(12) {
            0 => " ",
            1 => draw.of(&["\u{a0}", "\t", "  ", "\u{3000}"]),
            _ => "",
        };
        let mut text = String::new();
        let year = self.of(&[
            "2020",
            "1970",
            "1969",
            "20",
            "0",
            "-1",
            "+2020",
            "+12020",
            "262143",
            "+262142",
            "-262143",
            "20200",
            "0004",
            "+000002020",
        ]);
        let month = self.of(&["1", "01", "2", "02", "12", "13", "0", "6", "001"]);
        let day = self.of(&["1", "01", "28", "29", "30", "31", "0", "32", "001"]);
        for part in [
            blank(self),
            year,
            blank(self),
            "-",
            blank(self),
            month,
            blank(self),
            "-",
            blank(self),
            day,
        ] {
            text.push_str(part);
        }
        if self.coin(6) {
            return text;
        }
        text.push_str(self.of(&["T", "T", "T", " ", " ", "t", "", "_", "\u{a0}"]));
        let hour = self.of(&["0", "00", "10", "23", "24", "7"]);
        let minute = self.of(&["00", "0", "59", "60", "30"]);
        for part in [blank(self), hour, blank(self), ":", blank(self), minute] {
            text.push_str(part);
        }
        if !self.coin(5) {
            let second = self.of(&["00", "0", "59", "60", "61", "30"]);
            for part in [blank(self), ":", blank(self), second] {
                text.push_str(part);
            }
            text.push_str(self.of(&[
                "",
                "",
                ".5",
                ".123456789",
                ".1234567891",
                ".",
                ".999999999",
                ",5",
            ]));
        }
        text.push_str(blank(self));
        text.push_str(self.of(&[
            "",
            "",
            "Z",
            "Z",
            "z",
            "UTC",
            "utc",
            "UT",
            "+00:00",
            "+05:30",
            "-0530",
            "+05",
            "+5",
            "\u{2212}01:00",
            "+23:59",
            "+24:00",
            "+99:00",
            "+01:60",
            "+01 : 30",
            "+01:",
            "-00:00",
            "+010",
            "GMT",
            "+05:3x",
            "+05\u{a0}30",
        ]));
        text.push_str(blank(self));
        if self.coin(40) {
            text.push_str(self.of(&["x", "\0", "0", "é"]));
        }
        text
    }

    fn tenth(&mut self, reach: i32) -> f64 {
        let count = usize::try_from(reach * 20 + 1).unwrap();
        f64::from(i32::try_from(self.below(count)).unwrap() - reach * 10) / 10.0
    }

    /// A circle, and a place as far from its middle as it reaches, or nearly.
    pub(in crate::store::pgvector::filter_sql::tests) fn circle_and_edge(
        &mut self,
    ) -> (Value, Value) {
        let (lat, lon) = (self.tenth(90), self.tenth(180));
        let (lat2, lon2) = match self.coin(4) {
            true => (lat + self.tenth(1) / 1e6, lon),
            false => (self.tenth(90), self.tenth(180)),
        };
        let half_sine = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
        let a = half_sine(lat2 - lat)
            + lat.to_radians().cos() * lat2.to_radians().cos() * half_sine(lon2 - lon);
        let distance = 6_371_008.8 * (2.0 * a.sqrt().asin());
        let radius = distance * self.of(&[1.0, 1.0 + 1e-12, 1.0 - 1e-12, 1.0 + 1e-6, 1.0 - 1e-6]);
        let circle = json!({"center": {"lat": lat, "lon": lon}, "radius": radius});
        let lat2 = lat2.clamp(-90.0, 90.0);
        (
            json!({"key": "p", "geo_radius": circle}),
            json!({"lat": lat2, "lon": lon2}),
        )
    }

    /// A polygon, and a place on one of its sides or its corners, or nearly.
    pub(in crate::store::pgvector::filter_sql::tests) fn polygon_and_edge(
        &mut self,
    ) -> (Value, Value) {
        let count = 3 + self.below(3);
        let mut corners: Vec<(f64, f64)> =
            (0..count).map(|_| (self.tenth(3), self.tenth(3))).collect();
        corners.push(corners[0]);
        let side = self.below(count);
        let (from, to) = (corners[side], corners[side + 1]);
        let part = f64::from(u32::try_from(self.below(11)).unwrap()) / 10.0;
        let nudge = self.of(&[0.0, 0.0, 1e-16, -1e-16, 1e-9, -1e-9, 0.5, -0.5]);
        let lat = from.0 + (to.0 - from.0) * part + nudge;
        let lon = from.1 + (to.1 - from.1) * part;
        let points: Vec<Value> = corners
            .iter()
            .map(|(lat, lon)| json!({"lat": lat, "lon": lon}))
            .collect();
        let mut polygon = json!({"exterior": {"points": points}});
        if self.coin(4) {
            polygon["interiors"] = json!([{"points": points}]);
        }
        (
            json!({"key": "p", "geo_polygon": polygon}),
            json!({"lat": lat, "lon": lon}),
        )
    }
}
