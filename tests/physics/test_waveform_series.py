"""The series that a bank stores hold every window that can be cut out of them."""

from __future__ import annotations

from physics.waveform_series import waveform_series


def test_series_hold_every_window() -> None:
    series = waveform_series(2048, 2.0, (1.5, 1.8))
    sizes = (series.before, series.after, series.fade_in, series.fade_out)
    assert sizes == (4096, 1280, 307, 204)
    for rate, window in ((4096, 4.0), (2048, 8.0), (1000, 1.0), (256, 0.25)):
        merger = (0.75 * window, 0.9 * window)
        series = waveform_series(rate, window, merger)
        whole = series.weights() == 1
        first, last = whole.argmax(), len(whole) - whole[::-1].argmax()
        assert whole[first:last].all()
        assert (series.before - first) / rate >= merger[1] + 0.02127
        assert (last - series.before) / rate >= window - merger[0] + 0.02127
        rest = series.stretch
        for factor in (2, 3, 5, 7):
            while rest % factor == 0:
                rest //= factor
        assert rest == 1
        assert series.stretch < 2 * (window + 0.3) * rate
