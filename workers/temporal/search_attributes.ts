/** Registers Temper's search attributes with the namespace, where the worker may. */
import proto from '@temporalio/proto';
import { searchAttributeTypes } from '../../contracts/index.js';
import type { Connected } from './connection.js';

const { IndexedValueType } = proto.temporal.api.enums.v1;
const valueTypes = {
  KEYWORD: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
  INT: IndexedValueType.INDEXED_VALUE_TYPE_INT,
  DOUBLE: IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
};

/** Returns whether the namespace has them in the end. Where it refuses, runs use their memo. */
export async function registerSearchAttributes({ connection, namespace }: Connected): Promise<boolean> {
  const { operatorService } = connection;
  const required = Object.entries(searchAttributeTypes);
  const missing = async () => {
    const { customAttributes } = await operatorService.listSearchAttributes({ namespace });
    return required.filter(([name, type]) => customAttributes?.[name] !== valueTypes[type]);
  };
  try {
    const absent = await missing();
    if (absent.length === 0) return true;
    await operatorService.addSearchAttributes({
      namespace,
      searchAttributes: Object.fromEntries(absent.map(([name, type]) => [name, valueTypes[type]])),
    });
    return (await missing()).length === 0;
  } catch {
    return false;
  }
}
