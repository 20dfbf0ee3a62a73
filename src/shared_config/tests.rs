mod cases;
mod configparser;
mod round_trip;
