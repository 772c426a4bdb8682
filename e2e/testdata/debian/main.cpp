#include <fmt/core.h>

int main() {
    fmt::print("{} {:08x}\n", 42, 0xba7816bfU);
}
