#include <bzlib.h>
#include <lz4.h>
#include <openssl/evp.h>
#include <png.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

int main(void) {
    const char text[] = "the quick brown fox jumps over the lazy dog, the quick brown fox jumps over the lazy dog";
    char packed[512], unpacked[512];

    uLongf zn = sizeof packed, zm = sizeof unpacked;
    if (compress((Bytef *)packed, &zn, (const Bytef *)text, sizeof text) != Z_OK) return 1;
    if (uncompress((Bytef *)unpacked, &zm, (Bytef *)packed, zn) != Z_OK || strcmp(unpacked, text)) return 2;

    unsigned bn = sizeof packed, bm = sizeof unpacked;
    if (BZ2_bzBuffToBuffCompress(packed, &bn, (char *)text, sizeof text, 9, 0, 0) != BZ_OK) return 3;
    if (BZ2_bzBuffToBuffDecompress(unpacked, &bm, packed, bn, 0, 0) != BZ_OK || strcmp(unpacked, text)) return 4;

    int ln = LZ4_compress_default(text, packed, sizeof text, sizeof packed);
    if (ln <= 0 || LZ4_decompress_safe(packed, unpacked, ln, sizeof unpacked) != (int)sizeof text) return 5;

    size_t sn = ZSTD_compress(packed, sizeof packed, text, sizeof text, 3);
    if (ZSTD_isError(sn) || ZSTD_decompress(unpacked, sizeof unpacked, packed, sn) != sizeof text) return 6;

    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    if (!png) return 7;
    png_destroy_write_struct(&png, NULL);

    sqlite3 *db;
    sqlite3_stmt *row;
    if (sqlite3_open(":memory:", &db) != SQLITE_OK) return 8;
    if (sqlite3_prepare_v2(db, "select 6*7", -1, &row, NULL) != SQLITE_OK || sqlite3_step(row) != SQLITE_ROW) return 9;
    int answer = sqlite3_column_int(row, 0);
    sqlite3_finalize(row);
    sqlite3_close(db);

    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length;
    if (!EVP_Digest("abc", 3, digest, &length, EVP_sha256(), NULL)) return 10;
    printf("%d %02x%02x%02x%02x\n", answer, digest[0], digest[1], digest[2], digest[3]);
    return 0;
}
