"""Which files a model is made of, whoever asks: found, checked and told apart, without torch."""
