#define HEADER_TEXT "first"
