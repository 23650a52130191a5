// Letterbox one camera image, as it came, into one place of a network's input: uint8 [H, W, 3] RGB.
//
// Integers throughout, so that a CPU that runs this source gives the very same bytes. The results
// are those of OpenCV's conversion and INTER_LINEAR, but for one grey level.

typedef unsigned char byte;

// Field for field as `Job` in letterbox.py.
struct Job {
    const byte* source;
    byte* target;
    long long step;               // bytes from one row of the source to the next
    int source_width, source_height;
    int layout;                   // PACKED, BAYER, YUV422 or YUV420
    int pixel_bytes;              // from one pixel (YUV420: brightness) to the next
    // Offsets of the samples in bytes. PACKED: red, green, blue in a pixel; BAYER: column and row
    // of a red sample in a tile of 2 x 2, then the upper byte in a sample; YUV422: Y in a pixel,
    // U and V in a pair of pixels; YUV420: unused, then U and V in a pair.
    int first, second, third;
    int input_width, input_height;
    int x, y, width, height;      // where in the input the scaled image lies
    int pad_value;
};

enum { PACKED, BAYER, YUV422, YUV420 };

struct Colour {
    int red, green, blue;
};

__device__ static int clamp(int value, int least, int greatest)
{
    return value < least ? least : value > greatest ? greatest : value;
}

// BT.601 with limited range, in OpenCV's fixed point.
__device__ static Colour from_yuv(int y, int u, int v)
{
    const int half = 1 << 19;
    const int bright = (y > 16 ? y - 16 : 0) * 1220542 + half;
    u -= 128;
    v -= 128;
    return {clamp((bright + 1673527 * v) >> 20, 0, 255),
            clamp((bright - 852492 * v - 409993 * u) >> 20, 0, 255),
            clamp((bright + 2116026 * u) >> 20, 0, 255)};
}

__device__ static int mosaic(const Job& job, int x, int y)
{
    return job.source[y * job.step + x * job.pixel_bytes + job.third];
}

// What a pixel's own filter let through is taken, the rest is the mean of its neighbours.
__device__ static Colour from_mosaic(const Job& job, int x, int y)
{
    x = clamp(x, 1, job.source_width - 2);
    y = clamp(y, 1, job.source_height - 2);
    const int own = mosaic(job, x, y);
    const int left_right = mosaic(job, x - 1, y) + mosaic(job, x + 1, y);
    const int up_down = mosaic(job, x, y - 1) + mosaic(job, x, y + 1);
    const bool red_column = (x & 1) == job.first, red_row = (y & 1) == job.second;
    if (red_column != red_row) {  // green
        const int beside = (left_right + 1) >> 1, above = (up_down + 1) >> 1;
        return red_row ? Colour{beside, own, above} : Colour{above, own, beside};
    }
    const int green = (left_right + up_down + 2) >> 2;
    const int diagonal = (mosaic(job, x - 1, y - 1) + mosaic(job, x + 1, y - 1) +
                          mosaic(job, x - 1, y + 1) + mosaic(job, x + 1, y + 1) + 2) >> 2;
    return red_row ? Colour{own, green, diagonal} : Colour{diagonal, green, own};
}

__device__ static Colour at(const Job& job, int x, int y)
{
    const byte* row = job.source + y * job.step;
    const byte* pixel = row + x * job.pixel_bytes;
    const byte* pair;
    switch (job.layout) {
    case PACKED:
        return {pixel[job.first], pixel[job.second], pixel[job.third]};
    case BAYER:
        return from_mosaic(job, x, y);
    case YUV422:
        pair = row + (x & ~1) * job.pixel_bytes;
        return from_yuv(pixel[job.first], pair[job.second], pair[job.third]);
    default:
        pair = job.source + (job.source_height + y / 2) * job.step + (x & ~1);
        return from_yuv(*pixel, pair[job.second], pair[job.third]);
    }
}

const int WEIGHT_BITS = 11, ONE = 1 << WEIGHT_BITS;

// Where the centre of a scaled pixel lies in the source: the pixel before it, and the weight of
// the one behind. Both are exact but for the rounding of the weight.
__device__ static int locate(int place, int scaled, int source, int* weight)
{
    const long long twice = 2LL * scaled;
    const long long centre = (2LL * place + 1) * source - scaled;  // times `twice`
    *weight = 0;
    if (centre <= 0)
        return 0;
    const int before = (int)(centre / twice);
    if (before >= source - 1)
        return source - 1;
    *weight = (int)(((centre - before * twice) * ONE + scaled) / twice);
    return before;
}

__device__ static byte blend(int a, int b, int c, int d, int right, int below)
{
    const int upper = a * (ONE - right) + b * right, lower = c * (ONE - right) + d * right;
    return (byte)((upper * (ONE - below) + lower * below + (1 << (2 * WEIGHT_BITS - 1))) >>
                  (2 * WEIGHT_BITS));
}

// One thread for each pixel of the input.
extern "C" __global__ void letterbox(Job job)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= job.input_width || y >= job.input_height)
        return;
    byte* out = job.target + 3 * ((long long)y * job.input_width + x);
    if (x < job.x || x >= job.x + job.width || y < job.y || y >= job.y + job.height) {
        out[0] = out[1] = out[2] = (byte)job.pad_value;
        return;
    }
    int right, below;
    const int left = locate(x - job.x, job.width, job.source_width, &right);
    const int top = locate(y - job.y, job.height, job.source_height, &below);
    const int next_x = right ? left + 1 : left, next_y = below ? top + 1 : top;
    const Colour a = at(job, left, top), b = at(job, next_x, top);
    const Colour c = at(job, left, next_y), d = at(job, next_x, next_y);
    out[0] = blend(a.red, b.red, c.red, d.red, right, below);
    out[1] = blend(a.green, b.green, c.green, d.green, right, below);
    out[2] = blend(a.blue, b.blue, c.blue, d.blue, right, below);
}
