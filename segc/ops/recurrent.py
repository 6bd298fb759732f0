"""Sequences: embedding, LSTM, greedy decoding."""
