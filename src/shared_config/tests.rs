mod cases;
mod round_trip;
