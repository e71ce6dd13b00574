"""The benchmark: who meets the specs with the fewest simulations."""
