__kernel void pointwise(__global half* restrict input, __global half* restrict weight, __global float4* restrict bias, __global half* restrict output) {
  const int group_x = get_group_id(0);
  const int group_y = get_group_id(1);
  const int local_x = get_local_id(0);
  float4 sum0_0;
  float4 sum0_1;
  float4 sum1_0;
  float4 sum1_1;
  float4 x0;
  float4 x1;
  float4 w0;
  float4 w1;
  float4 w2;
  float4 w3;
  float4 w0_1;
  float4 w1_1;
  float4 w2_1;
  float4 w3_1;
  float4 bias_vector;
  float4 bias_vector_1;
  sum0_0 = (float4)(0.000000e+00f);
  sum0_1 = (float4)(0.000000e+00f);
  sum1_0 = (float4)(0.000000e+00f);
  sum1_1 = (float4)(0.000000e+00f);
  for (int c = 0; c < 6; ++c) {
    x0 = vloada_half4((((c * 196) + (group_x * 128)) + local_x), input);
    x1 = vloada_half4(((c * 196) + min((int)(((group_x * 128) + local_x) + 64), (int)195)), input);
    w0 = vloada_half4(((group_y * 48) + (c * 4)), weight);
    w1 = vloada_half4((((group_y * 48) + (c * 4)) + 1), weight);
    w2 = vloada_half4((((group_y * 48) + (c * 4)) + 2), weight);
    w3 = vloada_half4((((group_y * 48) + (c * 4)) + 3), weight);
    sum0_0 = (sum0_0 + ((float4)(x0.s0) * w0));
    sum0_1 = (sum0_1 + ((float4)(x1.s0) * w0));
    sum0_0 = (sum0_0 + ((float4)(x0.s1) * w1));
    sum0_1 = (sum0_1 + ((float4)(x1.s1) * w1));
    sum0_0 = (sum0_0 + ((float4)(x0.s2) * w2));
    sum0_1 = (sum0_1 + ((float4)(x1.s2) * w2));
    sum0_0 = (sum0_0 + ((float4)(x0.s3) * w3));
    sum0_1 = (sum0_1 + ((float4)(x1.s3) * w3));
    w0_1 = vloada_half4((((group_y * 48) + (c * 4)) + 24), weight);
    w1_1 = vloada_half4((((group_y * 48) + (c * 4)) + 25), weight);
    w2_1 = vloada_half4((((group_y * 48) + (c * 4)) + 26), weight);
    w3_1 = vloada_half4((((group_y * 48) + (c * 4)) + 27), weight);
    sum1_0 = (sum1_0 + ((float4)(x0.s0) * w0_1));
    sum1_1 = (sum1_1 + ((float4)(x1.s0) * w0_1));
    sum1_0 = (sum1_0 + ((float4)(x0.s1) * w1_1));
    sum1_1 = (sum1_1 + ((float4)(x1.s1) * w1_1));
    sum1_0 = (sum1_0 + ((float4)(x0.s2) * w2_1));
    sum1_1 = (sum1_1 + ((float4)(x1.s2) * w2_1));
    sum1_0 = (sum1_0 + ((float4)(x0.s3) * w3_1));
    sum1_1 = (sum1_1 + ((float4)(x1.s3) * w3_1));
  }
  bias_vector = bias[(group_y * 2)];
  vstorea_half4_rte(((sum0_0 + bias_vector) * min(max((((sum0_0 + bias_vector) * (float4)(1.666667e-01f)) + (float4)(5.000000e-01f)), (float4)(0.000000e+00f)), (float4)(1.000000e+00f))), (((group_y * 392) + (group_x * 128)) + local_x), output);
  if (((group_x * 32) + (local_x >> 2)) < 33) {
    vstorea_half4_rte(((sum0_1 + bias_vector) * min(max((((sum0_1 + bias_vector) * (float4)(1.666667e-01f)) + (float4)(5.000000e-01f)), (float4)(0.000000e+00f)), (float4)(1.000000e+00f))), ((((group_y * 392) + (group_x * 128)) + local_x) + 64), output);
  }
  bias_vector_1 = bias[((group_y * 2) + 1)];
  vstorea_half4_rte(((sum1_0 + bias_vector_1) * min(max((((sum1_0 + bias_vector_1) * (float4)(1.666667e-01f)) + (float4)(5.000000e-01f)), (float4)(0.000000e+00f)), (float4)(1.000000e+00f))), ((((group_y * 392) + (group_x * 128)) + local_x) + 196), output);
  if (((group_x * 32) + (local_x >> 2)) < 33) {
    vstorea_half4_rte(((sum1_1 + bias_vector_1) * min(max((((sum1_1 + bias_vector_1) * (float4)(1.666667e-01f)) + (float4)(5.000000e-01f)), (float4)(0.000000e+00f)), (float4)(1.000000e+00f))), ((((group_y * 392) + (group_x * 128)) + local_x) + 260), output);
  }
}
