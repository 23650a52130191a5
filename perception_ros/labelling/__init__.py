"""Labels by a teacher: what a bundle says of pictures, kept as data to train and measure on."""
