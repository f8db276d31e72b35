/** The messages of onnx.proto (https://github.com/onnx/onnx, Apache-2.0) that our files use, to read them by. */
import protobuf from 'protobufjs';

const schema = `
syntax = "proto2";
package onnx;
message AttributeProto {
  enum AttributeType { UNDEFINED = 0; FLOAT = 1; INT = 2; STRING = 3; TENSOR = 4; GRAPH = 5; FLOATS = 6; INTS = 7; STRINGS = 8; }
  optional string name = 1;
  optional AttributeType type = 20;
  optional float f = 2;
  optional int64 i = 3;
  optional bytes s = 4;
  repeated float floats = 7;
  repeated int64 ints = 8;
}
message ValueInfoProto { optional string name = 1; optional TypeProto type = 2; }
message NodeProto {
  repeated string input = 1;
  repeated string output = 2;
  optional string name = 3;
  optional string op_type = 4;
  optional string domain = 7;
  repeated AttributeProto attribute = 5;
}
message StringStringEntryProto { optional string key = 1; optional string value = 2; }
message ModelProto {
  optional int64 ir_version = 1;
  repeated OperatorSetIdProto opset_import = 8;
  optional string producer_name = 2;
  optional GraphProto graph = 7;
}
message GraphProto {
  repeated NodeProto node = 1;
  optional string name = 2;
  repeated TensorProto initializer = 5;
  repeated ValueInfoProto input = 11;
  repeated ValueInfoProto output = 12;
}
message TensorProto {
  enum DataLocation { DEFAULT = 0; EXTERNAL = 1; }
  repeated int64 dims = 1;
  optional int32 data_type = 2;
  optional string name = 8;
  optional bytes raw_data = 9;
  repeated StringStringEntryProto external_data = 13;
  optional DataLocation data_location = 14;
}
message TensorShapeProto {
  message Dimension { oneof value { int64 dim_value = 1; string dim_param = 2; } }
  repeated Dimension dim = 1;
}
message TypeProto {
  message Tensor { optional int32 elem_type = 1; optional TensorShapeProto shape = 2; }
  oneof value { Tensor tensor_type = 1; }
}
message OperatorSetIdProto { optional string domain = 1; optional int64 version = 2; }
`;

const model = protobuf.parse(schema, { keepCase: true }).root.lookupType('onnx.ModelProto');

export interface ReadTensor {
  name: string;
  dims?: number[];
  data_type: number;
  raw_data?: Uint8Array;
  external_data?: { key: string; value: string }[];
}

interface ReadSlot {
  name: string;
  type: {
    tensor_type: { elem_type: number; shape: { dim: { dim_value?: number; dim_param?: string }[] } };
  };
}

export interface ReadModel {
  ir_version: number;
  opset_import: { domain: string; version: number }[];
  graph: {
    node: {
      name: string;
      op_type: string;
      input: string[];
      output: string[];
      attribute?: { name: string; type: string; i?: number; f?: number; s?: Uint8Array; ints?: number[] }[];
    }[];
    initializer: ReadTensor[];
    input: ReadSlot[];
    output: ReadSlot[];
  };
}

export function readOnnx(bytes: Uint8Array): ReadModel {
  return model.toObject(model.decode(bytes), { longs: Number, enums: String }) as ReadModel;
}

/** `name float[batch_size,4]`, with the element type as onnx.proto numbers it. */
export function printSlot({ name, type }: ReadSlot): string {
  const { elem_type, shape } = type.tensor_type;
  return `${name} ${elem_type}[${shape.dim.map((dim) => dim.dim_param ?? dim.dim_value)}]`;
}
