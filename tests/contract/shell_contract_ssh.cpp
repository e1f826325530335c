// What only a shell behind ssh promises.
#include <doctest/doctest.h>
